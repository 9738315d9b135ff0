"""Evidence measured at capture, found beside the traces and put in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tracediff.diff.result import Row, TraceDiff, Verdict
from tracediff.measured import (
    FILE_NAME,
    SCHEMA,
    MalformedEvidenceError,
    StoredBits,
    StoredEvidence,
    StoredPair,
    read_evidence,
)
from tracediff.text import shorten

CLEAN = "clean"
ORIGIN = "origin"
PROPAGATED = "propagated"


def attach_evidence(diff: TraceDiff) -> TraceDiff:
    """Return the diff with what was measured for its two batch sizes, where that lies beside both traces.

    A file that cannot be read, or that is of another capture, is a warning and no evidence.
    """
    a, b = diff.a.info, diff.b.info
    directory = Path(a.path).absolute().parent
    path = directory / FILE_NAME
    if directory != Path(b.path).absolute().parent or not path.is_file():
        return diff
    try:
        stored = read_evidence(path)
    except (OSError, MalformedEvidenceError) as error:
        return _warned(diff, f"{FILE_NAME} beside the traces cannot be used: {error}.")
    for word, said, known in (("model", stored.model, a.model), ("dtype", stored.dtype, a.dtype)):
        if known is not None and said != known:
            of = f"{word} {shorten(said, 60)}, the traces of {known}"
            return _warned(diff, f"{FILE_NAME} is of {of}; it is not used.")
    pair = next((pair for pair in stored.pairs if set(pair.batches) == {a.batch, b.batch}), None)
    return diff if pair is None else _attached(diff, stored, pair)


def _attached(diff: TraceDiff, stored: StoredEvidence, pair: StoredPair) -> TraceDiff:
    swapped = pair.batches[0] != diff.a.info.batch
    rows = tuple(replace(row, evidence=_of_row(row, pair)) for row in diff.rows)
    first = pair.first_origin
    tokens = {phase: chosen[::-1] if swapped else chosen for phase, chosen in pair.tokens.items()}
    evidence = {
        "schema": SCHEMA,
        "batches": [diff.a.info.batch, diff.b.info.batch],
        "modules": {state: sum((row.evidence or {}).get("state") == state for row in rows) for state in _STATES},
        "first_origin": {"phase": first[0], "module": first[1]} if first else None,
        "logits": {phase: _shown(bits) for phase, bits in pair.logits.items()},
        "tokens": {phase: {"equal": a == b, "a": a, "b": b} for phase, (a, b) in tokens.items()},
        "repair": None if pair.repair is None else pair.repair.to_dict(),
        "notes": list(stored.notes),
        "controls": {name: control.to_dict() for name, control in stored.controls.items()},
        "contradictions": [
            {"phase": row.phase, "module": row.module, "verdict": str(row.verdict)} for row in rows if contradicted(row)
        ],
    }
    return replace(diff, rows=rows, evidence=evidence)


_STATES = (CLEAN, ORIGIN, PROPAGATED)


def _of_row(row: Row, pair: StoredPair) -> dict[str, Any] | None:
    found = pair.modules.get(row.phase or "", {}).get(row.module)
    if found is None:
        return None
    isolated, propagated = found
    return {"isolated": _shown(isolated), "propagated": _shown(propagated), "state": _state(isolated, propagated)}


def _state(isolated: StoredBits | None, propagated: StoredBits | None) -> str | None:
    """Say what a module does to bits: `origin` makes a difference, `propagated` passes one on, `clean` neither."""
    if isolated is not None and not isolated.equal:
        return ORIGIN
    if propagated is not None and not propagated.equal:
        return PROPAGATED
    return CLEAN if isolated is not None else None


def _shown(bits: StoredBits | None) -> dict[str, Any] | None:
    return None if bits is None else bits.to_dict()


def contradicted(row: Row) -> bool:
    """Whether a module that was predicted to keep its bits gave others on equal inputs.

    The other way round is no contradiction: another order may round to the same bits.
    """
    isolated: dict[str, Any] | None = (row.evidence or {}).get("isolated")
    return row.verdict in (Verdict.SAME_KERNELS, Verdict.SAME_ORDER) and isolated is not None and not isolated["equal"]


def _warned(diff: TraceDiff, warning: str) -> TraceDiff:
    return replace(diff, warnings=(*diff.warnings, warning))
