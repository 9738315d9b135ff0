"""Evidence measured at capture, found beside the traces and put in place: JSON only, no torch.

`evidence.json` (written by `tracediff.evidence.record`, described in docs/reduction-order.md):

    {"schema": 1, "model", "dtype", "tokens", "batches": [1, 2, …], "phases": ["prefill", "decode[0]", …],
     "pairs": [{"batches": [1, 2],
                "logits": {phase: BITS}, "tokens": {phase: [token at a, token at b]},
                "modules": {phase: {module: [BITS on equal inputs, BITS in the run]}},
                "first_origin": [phase, module] | null,
                "repair": {"minimal": [kind…], "logits_equal", "complement_logits_equal", "tried"} | null}, …],
     "notes": [sentence…],
     "controls": {"run_to_run" | "neighbours" | "position" | "profiler":
                  {"equal", "compared", "first", "share", "max_ulp"}}}

BITS is true (equal), [share of differing elements, largest distance in ULP or null], or null (not measured).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracediff.diff.result import Row, TraceDiff, Verdict

FILE_NAME = "evidence.json"
SCHEMA = 1

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
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["schema"] != SCHEMA:
            return _warned(diff, f"{FILE_NAME} has schema {stored['schema']}, this version reads {SCHEMA}.")
        for word, known in (("model", a.model), ("dtype", a.dtype)):
            if known is not None and stored[word] != known:
                return _warned(diff, f"{FILE_NAME} is of {word} {stored[word]}, the traces of {known}; it is not used.")
        sides = {a.batch, b.batch}
        pair = next((pair for pair in stored["pairs"] if set(pair["batches"]) == sides), None)
        return diff if pair is None else _attached(diff, stored, pair)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return _warned(diff, f"{FILE_NAME} beside the traces cannot be read ({type(error).__name__}: {error}).")


def _attached(diff: TraceDiff, stored: dict[str, Any], pair: dict[str, Any]) -> TraceDiff:
    swapped = pair["batches"][0] != diff.a.info.batch
    rows = tuple(replace(row, evidence=_of_row(row, pair["modules"])) for row in diff.rows)
    first = pair["first_origin"]
    tokens = {phase: chosen[::-1] if swapped else chosen for phase, chosen in pair["tokens"].items()}
    evidence = {
        "schema": SCHEMA,
        "batches": [diff.a.info.batch, diff.b.info.batch],
        "modules": {state: sum((row.evidence or {}).get("state") == state for row in rows) for state in _STATES},
        "first_origin": {"phase": first[0], "module": first[1]} if first else None,
        "logits": {phase: read_bits(bits) for phase, bits in pair["logits"].items()},
        "tokens": {phase: {"equal": a == b, "a": a, "b": b} for phase, (a, b) in tokens.items()},
        "repair": pair["repair"],
        "notes": stored.get("notes", []),
        "controls": stored["controls"],
        "contradictions": [
            {"phase": row.phase, "module": row.module, "verdict": str(row.verdict)} for row in rows if contradicted(row)
        ],
    }
    return replace(diff, rows=rows, evidence=evidence)


_STATES = (CLEAN, ORIGIN, PROPAGATED)


def _of_row(row: Row, modules: dict[str, Any]) -> dict[str, Any] | None:
    found = modules.get(row.phase or "", {}).get(row.module)
    if found is None:
        return None
    isolated, propagated = (read_bits(bits) for bits in found)
    return {"isolated": isolated, "propagated": propagated, "state": state(isolated, propagated)}


def state(isolated: dict[str, Any] | None, propagated: dict[str, Any] | None) -> str | None:
    """Say what a module does to bits: `origin` makes a difference, `propagated` passes one on, `clean` neither."""
    if isolated is not None and not isolated["equal"]:
        return ORIGIN
    if propagated is not None and not propagated["equal"]:
        return PROPAGATED
    return CLEAN if isolated is not None else None


def read_bits(stored: Any) -> dict[str, Any] | None:
    """Return one stored comparison as reports show it: `equal`, `share`, `max_ulp`; None where nothing was measured."""
    if stored is None:
        return None
    if stored is True:
        return {"equal": True, "share": 0.0, "max_ulp": 0}
    share, max_ulp = stored
    return {"equal": False, "share": float(share), "max_ulp": None if max_ulp is None else int(max_ulp)}


def contradicted(row: Row) -> bool:
    """Whether a module that was predicted to keep its bits gave others on equal inputs.

    The other way round is no contradiction: another order may round to the same bits.
    """
    isolated: dict[str, Any] | None = (row.evidence or {}).get("isolated")
    return row.verdict in (Verdict.SAME_KERNELS, Verdict.SAME_ORDER) and isolated is not None and not isolated["equal"]


def _warned(diff: TraceDiff, warning: str) -> TraceDiff:
    return replace(diff, warnings=(*diff.warnings, warning))
