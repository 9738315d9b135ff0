"""Gather what a capture directory holds on the question whether a difference is a bug. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracediff.diff import diff_tables
from tracediff.diff.evidence import with_evidence
from tracediff.diff.evidence_fits import why_it_does_not_fit
from tracediff.errors import TracediffError
from tracediff.findings import determinism as determinism_result
from tracediff.findings.determinism import DeterminismResult, read_determinism
from tracediff.findings.flips import FlipsResult
from tracediff.findings.flips_file import KIND as FLIPS_KIND
from tracediff.findings.flips_file import read_flips
from tracediff.findings.same_subject import (
    Subject,
    of_dtype,
    subject_of_capture,
    subject_of_flips,
    subject_of_repeats,
)
from tracediff.json_input import parse_json
from tracediff.measured import EVIDENCE_FILE, Evidence, MalformedEvidenceError, State, read_evidence_of
from tracediff.trace import read_trace

MANIFEST_FILE_NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginOrder:
    """What the traces say about one module that makes a difference.

    Attributes:
        batch: The batch size compared with 1.
        phase, module: Where.
        verdict: The trace's verdict.
        reason: Why, in one phrase.
    """

    batch: int
    phase: str
    module: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything found.

    Attributes:
        evidence: What evidence.json holds, or None.
        orders: What the traces say about each origin; empty without traces.
        flips: Flip searches of the model that was captured, in its precision, by file name; without a capture those of
            the first search's model.
        determinism: Run-to-run repeats of that model, by file name.
        random_weights: Whether the capture's model had random weights; None where unknown.
        notes: What could not be read, or was left out as it is of something else, one sentence each.
    """

    evidence: Evidence | None = None
    orders: tuple[OriginOrder, ...] = ()
    flips: tuple[tuple[str, FlipsResult], ...] = ()
    determinism: tuple[tuple[str, DeterminismResult], ...] = ()
    random_weights: bool | None = None
    notes: tuple[str, ...] = ()


def gather(directory: Path) -> Facts:
    """Read a capture directory.

    Raises:
        TracediffError: No such directory, nothing in it to explain, or a result in it that is damaged.
    """
    if not directory.is_dir():
        raise TracediffError(f"{directory} is not a directory", "give what `tracediff capture --out` wrote")
    documents = dict(_documents(directory))
    notes: list[str] = []
    evidence = _evidence(directory)
    flips = [name for name, document in documents.items() if document.get("kind") == FLIPS_KIND]
    repeats = [name for name, document in documents.items() if document.get("kind") == determinism_result.KIND]
    if evidence is None and not flips and not repeats:
        raise TracediffError(
            f"{directory} holds no evidence",
            "record some with `tracediff capture --evidence` or `tracediff flips --out`",
        )
    manifest = documents.get(MANIFEST_FILE_NAME) or {}
    orders: list[OriginOrder] = []
    if evidence is not None:
        try:
            orders = list(_orders(evidence, manifest, directory, notes))
        except TracediffError as error:
            notes.append(f"the traces were not compared: {error}")
    weights = manifest.get("weights")
    searches = [(name, read_flips(directory / name)) for name in flips]
    repeated = [(name, read_determinism(directory / name)) for name in repeats]
    subject = _subject(evidence, directory, searches)
    return Facts(
        evidence=evidence,
        orders=tuple(orders),
        flips=tuple(_searches_of(subject, evidence, searches, notes)),
        determinism=tuple(_repeats_of(subject, evidence, repeated, notes)),
        random_weights=None if weights is None else weights == "random",
        notes=tuple(notes),
    )


def _subject(evidence: Evidence | None, directory: Path, searches: list[tuple[str, FlipsResult]]) -> Subject:
    """Return what the questions are about: what was captured, or without a capture what was searched first."""
    if evidence is not None:
        return subject_of_capture(evidence, directory)
    return subject_of_flips(searches[0][1]) if searches else Subject()


def _searches_of(
    subject: Subject, evidence: Evidence | None, searches: list[tuple[str, FlipsResult]], notes: list[str]
) -> Iterator[tuple[str, FlipsResult]]:
    """Yield the searches that are of the subject, as far as they are in its precision, and note the others."""
    for name, result in searches:
        unlike = subject.unlike(subject_of_flips(result))
        kept = result if evidence is None else of_dtype(result, evidence.dtype)
        if unlike is not None:
            notes.append(f"{name} is left out: it is of {unlike}")
        elif kept is None:
            notes.append(f"{name} is left out: it is of precisions other than the capture's")
        else:
            yield name, kept


def _repeats_of(
    subject: Subject, evidence: Evidence | None, repeated: list[tuple[str, DeterminismResult]], notes: list[str]
) -> Iterator[tuple[str, DeterminismResult]]:
    """Yield the repeats that are of the subject, forwards in its precision alone, and note the others."""
    for name, result in repeated:
        unlike = subject.unlike(subject_of_repeats(result))
        if unlike is not None:
            notes.append(f"{name} is left out: it is of {unlike}")
        elif evidence is None:
            yield name, result
        else:
            yield name, replace(result, rows=tuple(row for row in result.rows if row.dtype == evidence.dtype))


def _evidence(directory: Path) -> Evidence | None:
    try:
        return read_evidence_of(directory)
    except OSError as error:
        raise TracediffError(f"cannot read {directory / EVIDENCE_FILE}", error.strerror or str(error)) from error
    except MalformedEvidenceError as error:
        raise TracediffError(f"{directory / EVIDENCE_FILE} cannot be used", str(error)) from error


def _documents(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(directory.glob("*.json")):
        if path.name == EVIDENCE_FILE or not path.is_file():
            continue
        try:
            document = parse_json(path.read_bytes())
        except OSError as error:
            raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
        except ValueError as error:
            raise TracediffError(f"cannot read {path}: {error}", "repair it, or move it away") from error
        if isinstance(document, dict):
            yield path.name, document


def _traces(manifest: dict[str, Any], directory: Path) -> dict[int, Path]:
    """Return the trace of each batch size that the manifest lists; anything else in the list is skipped."""
    entries = manifest.get("traces")
    return {
        entry["batch"]: directory / Path(entry["file"]).name
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and _is_file_name(entry.get("file")) and isinstance(entry.get("batch"), int)
    }


def _is_file_name(value: object) -> bool:
    """Whether this may name a file: text that is no longer than file systems allow."""
    return isinstance(value, str) and 0 < len(value.encode(errors="replace")) < 256 and "\0" not in value


def _orders(evidence: Evidence, manifest: dict[str, Any], directory: Path, notes: list[str]) -> Iterator[OriginOrder]:
    """Compare the traces of each pair that has an origin, yield the verdicts of its origins, and note what is odd."""
    traces = _traces(manifest, directory)
    for pair in evidence.pairs:
        base, batch = pair.batches
        if pair.first_origin is None or not {base, batch} <= traces.keys():
            continue
        compared = diff_tables(read_trace(traces[base]), read_trace(traces[batch]))
        objection = why_it_does_not_fit(evidence, compared)
        if objection is not None:
            notes.append(f"the traces at batch {base} and {batch} are left out: {EVIDENCE_FILE} {objection}")
            continue
        diff = with_evidence(compared, evidence)
        notes += (warning for warning in diff.warnings if warning not in notes)
        for row in diff.rows:
            if row.state is State.ORIGIN:
                yield OriginOrder(
                    batch=batch, phase=row.phase or "", module=row.module, verdict=str(row.verdict), reason=row.reason
                )
