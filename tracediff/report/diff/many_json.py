"""Many traces as JSON: `traces` in order, and in each row one entry per trace in each list."""

from __future__ import annotations

from typing import Any

from tracediff.diff.answer import answer
from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.many import ManyDiff, ManyRow
from tracediff.report.diff.json import (
    SCHEMA,
    DistinctKernels,
    lines_of,
    module_bits_to_dict,
    run_evidence_to_dict,
    side_to_dict,
)


def many_to_json(many: ManyDiff, modules: ChosenModules | None = None) -> str:
    """Return the comparison as JSON text; the rows of some modules alone where these are named."""
    kernels = DistinctKernels()
    rows = [_row_to_dict(row, kernels) for row in (many.rows if modules is None else modules.rows(many.rows))]
    return lines_of(
        {
            "schema": SCHEMA,
            "traces": [side_to_dict(side) for side in many.sides],
            "warnings": [list(diff.warnings) for diff in many.diffs],
            "summary": {
                "kernels": [side.kernels for side in many.sides],
                "splitk_reduce": [side.splitk_reduce for side in many.sides],
                "duration_ns": [side.duration_ns for side in many.sides],
                "modules": len(many.rows),
                "verdicts": [{str(verdict): n for verdict, n in diff.verdicts.items()} for diff in many.diffs],
            },
            "answers": [answer(diff).to_dict() for diff in many.diffs],
            "evidence": [run_evidence_to_dict(diff) for diff in many.diffs],
            "selected": None if modules is None else {"module": modules.pattern, "rows": len(rows)},
            "kernels": kernels.stated,
            "rows": rows,
        }
    )


def _row_to_dict(row: ManyRow, kernels: DistinctKernels) -> dict[str, Any]:
    first = row.first
    others = [(each.b if each else ()) for each in row.rows]
    return {
        "phase": row.phase,
        "layer": row.layer,
        "module": row.module,
        "kernels": [kernels.places(side) for side in (first.a, *others)],
        "splitk_reduce": [first.splitk_reduce[0], *(each.splitk_reduce[1] if each else 0 for each in row.rows)],
        "split_k": [first.split_k[0], *(each.split_k[1] if each else None for each in row.rows)],
        "duration_ns": [first.duration_ns[0], *(each.duration_ns[1] if each else 0 for each in row.rows)],
        "verdicts": [str(each.verdict) if each else None for each in row.rows],
        "reasons": [each.reason if each else None for each in row.rows],
        "evidence": [module_bits_to_dict(each.evidence) if each and each.evidence else None for each in row.rows],
    }
