"""Evidence measured at capture, found beside the traces and put in place."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from tracediff.diff.evidence_fits import why_it_does_not_fit
from tracediff.diff.result import TraceDiff
from tracediff.errors import TracediffError
from tracediff.measured import EVIDENCE_FILE, Evidence, MalformedEvidenceError, PairEvidence, read_evidence_of


def attach_evidence(diff: TraceDiff) -> TraceDiff:
    """Return the diff with what was measured of its two batch sizes, where that lies beside both traces.

    A file that cannot be read, or that is not of these traces, is a warning and no evidence.
    """
    a, b = diff.a.info, diff.b.info
    directory = Path(a.path).absolute().parent
    if directory != Path(b.path).absolute().parent:
        return diff
    try:
        evidence = read_evidence_of(directory)
    except (OSError, MalformedEvidenceError, TracediffError) as error:
        return _warned(diff, f"{EVIDENCE_FILE} beside the traces cannot be used: {error}.")
    if evidence is None:
        return diff
    objection = why_it_does_not_fit(evidence, diff.judged)
    if objection is not None:
        return _warned(diff, f"{EVIDENCE_FILE} {objection}; it is not used.")
    return with_evidence(diff, evidence)


def with_evidence(diff: TraceDiff, evidence: Evidence) -> TraceDiff:
    """Return the diff with what was measured of its two batch sizes; unchanged where they were not compared.

    Args:
        diff: The traces.
        evidence: Known to be of them.
    """
    pair = evidence.pair(diff.a.info.batch, diff.b.info.batch)
    return diff if pair is None else _attached(diff, evidence, pair)


def _attached(diff: TraceDiff, evidence: Evidence, pair: PairEvidence) -> TraceDiff:
    steps = {each.phase: each.texts for each in diff.a.executions if each.texts}
    return replace(
        diff,
        rows=tuple(
            replace(row, evidence=pair.module(steps.get(row.phase or "", (row.phase or "",)), row.module))
            for row in diff.rows
        ),
        evidence=evidence.run(pair, diff.a.info.batch),
        whole=None if diff.whole is None else _attached(diff.whole, evidence, pair),
    )


def unused_evidence(diff: TraceDiff) -> str | None:
    """Return the warning that evidence lies beside the traces and is not used; None where there is none."""
    return next((warning for warning in diff.warnings if warning.startswith(EVIDENCE_FILE)), None)


def _warned(diff: TraceDiff, warning: str) -> TraceDiff:
    return replace(diff, warnings=(*diff.warnings, warning))
