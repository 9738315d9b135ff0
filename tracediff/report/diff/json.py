"""JSON: the whole result, never folded, for programs.

Schema 2: each distinct kernel (what its name states, its launch, what cuBLASLt logged) is stated once, in `kernels`,
and rows hold indices into it. Unknown values are null, never left out; kernels are in launch order; times are in ns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from msgspec.structs import asdict

from tracediff.diff.answer import answer
from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.result import Kernel, Row, Side, TraceDiff
from tracediff.kernels import KernelName
from tracediff.measured import Bits, ModuleBits, State
from tracediff.text import json_text
from tracediff.trace.table import Coverage, KernelTable, TraceInfo

SCHEMA = 2


def diff_to_json(diff: TraceDiff, modules: ChosenModules | None = None) -> str:
    """Return the diff as JSON text, one row per line; the rows of some modules alone where these are named."""
    return lines_of(diff_to_dict(diff, modules))


def diff_to_dict(diff: TraceDiff, modules: ChosenModules | None = None) -> dict[str, Any]:
    """Return the diff as JSON values, as docs/library.md documents them.

    Args:
        diff: The result.
        modules: Only their rows; everything else is of the whole comparison.
    """
    kernels = DistinctKernels()
    rows = [row_to_dict(row, kernels) for row in (diff.rows if modules is None else modules.rows(diff.rows))]
    return {
        "schema": SCHEMA,
        "a": side_to_dict(diff.a),
        "b": side_to_dict(diff.b),
        "warnings": list(diff.warnings),
        "summary": {
            "kernels": [diff.a.kernels, diff.b.kernels],
            "splitk_reduce": [diff.a.splitk_reduce, diff.b.splitk_reduce],
            "duration_ns": [diff.a.duration_ns, diff.b.duration_ns],
            "modules": len(diff.rows),
            "verdicts": {str(verdict): count for verdict, count in diff.verdicts.items()},
        },
        "answer": answer(diff).to_dict(),
        "evidence": run_evidence_to_dict(diff),
        "selected": None if modules is None else {"module": modules.pattern, "rows": len(rows)},
        "kernels": kernels.stated,
        "rows": rows,
    }


def side_to_dict(side: Side) -> dict[str, Any]:
    """Return one trace of a diff as JSON values."""
    return {**info_to_dict(side.info), "coverage": coverage_to_dict(side.coverage), "notes": list(side.notes)}


def info_to_dict(info: TraceInfo) -> dict[str, Any]:
    """Return where a trace comes from."""
    return {
        "path": info.path,
        "profiler": info.profiler,
        "profiler_version": info.profiler_version,
        "schema_version": info.schema_version,
        "gpu": info.gpu,
        "sm_count": info.sm_count,
        "batch": info.batch,
        "dtype": info.dtype,
        "model": info.model,
        "tokens": info.tokens,
        "attention": info.attention,
        "weights": info.weights,
        "layers": info.layers,
        "seed": info.seed,
        "versions": info.versions,
    }


def coverage_to_dict(coverage: Coverage) -> dict[str, int]:
    """Return how many kernels were attributed, field by field."""
    return asdict(coverage)


class DistinctKernels:
    """The distinct kernels of a document: many launches, few kernels."""

    def __init__(self) -> None:
        self._place: dict[object, int] = {}
        self.stated: list[dict[str, Any]] = []

    def places(self, kernels: Iterable[Kernel]) -> list[int]:
        """Return each kernel's index in `stated`."""
        return [self._of(kernel) for kernel in kernels]

    def _of(self, kernel: Kernel) -> int:
        key = (kernel.launch, kernel.algorithm)
        place = self._place.get(key)
        if place is None:
            place = self._place[key] = len(self.stated)
            self.stated.append(kernel_to_dict(kernel))
        return place


def row_to_dict(row: Row, kernels: DistinctKernels) -> dict[str, Any]:
    """Return one (phase, module): `a` and `b` hold indices of `kernels`, `aligned` holds
    [index in the row's a or null, index in its b or null, verdict, reason].
    """
    return {
        "phase": row.phase,
        "layer": row.layer,
        "module": row.module,
        "a": kernels.places(row.a),
        "b": kernels.places(row.b),
        "durations_ns": [[kernel.duration_ns for kernel in side] for side in (row.a, row.b)],
        "aligned": [[pair.index_a, pair.index_b, str(pair.verdict), pair.reason] for pair in row.pairs],
        "splitk_reduce": list(row.splitk_reduce),
        "split_k": list(row.split_k),
        "duration_ns": list(row.duration_ns),
        "verdict": str(row.verdict),
        "reason": row.reason,
        "evidence": None if row.evidence is None else module_bits_to_dict(row.evidence),
    }


def run_evidence_to_dict(diff: TraceDiff) -> dict[str, Any] | None:
    """Return what was measured of the whole runs, and how many modules do what to bits; None without a measurement."""
    evidence = diff.evidence
    if evidence is None:
        return None
    states = Counter(row.state for row in diff.judged.rows)
    first, repair = evidence.first_origin, evidence.repair
    return {
        "batches": list(evidence.batches),
        "modules": {str(state): states[state] for state in State},
        "first_origin": None if first is None else {"phase": first[0], "module": first[1]},
        "logits": {phase: _bits_to_dict(bits) for phase, bits in evidence.logits.items()},
        "tokens": {phase: {"equal": a == b, "a": a, "b": b} for phase, (a, b) in evidence.tokens.items()},
        "repair": None if repair is None else {**asdict(repair), "minimal": list(repair.minimal)},
        "notes": list(evidence.notes),
        "controls": {
            name: {**asdict(control), "answer": str(control.answer)} for name, control in evidence.controls.items()
        },
        "moves": {phase: asdict(move) for phase, move in evidence.moves.items()},
        "pinned_logits": {phase: _bits_to_dict(bits) for phase, bits in evidence.pinned_logits.items()},
        "unstable": [asdict(unstable) for unstable in evidence.unstable],
        "attention": evidence.attention,
        "repeats": evidence.repeats,
        "steady_attentions": evidence.steady_attentions,
        "contradictions": [
            {"phase": row.phase, "module": row.module, "verdict": str(row.verdict)}
            for row in diff.judged.rows
            if row.contradicted
        ],
    }


def module_bits_to_dict(measured: ModuleBits) -> dict[str, Any]:
    """Return what was measured of one module."""
    return {
        "isolated": _bits_to_dict(measured.isolated),
        "propagated": _bits_to_dict(measured.propagated),
        "unstable": None if measured.unstable is None else asdict(measured.unstable),
        "state": None if measured.state is None else str(measured.state),
    }


def _bits_to_dict(bits: Bits | None) -> dict[str, Any] | None:
    return None if bits is None else asdict(bits)


def kernel_to_dict(kernel: Kernel) -> dict[str, Any]:
    """Return one kernel: what its name states, its launch, what cuBLASLt logged for it."""
    algorithm = kernel.algorithm
    return {
        **_stated(kernel.parsed),
        "split_k": kernel.split_k,
        "split_k_source": kernel.split_k_source,
        "grid": list(kernel.grid),
        "block": list(kernel.block),
        "registers": kernel.registers,
        "shared_memory_bytes": kernel.shared_memory_bytes,
        "algorithm": None
        if algorithm is None
        else {
            "m": algorithm.m,
            "n": algorithm.n,
            "k": algorithm.k,
            "types": [algorithm.type_a, algorithm.type_b, algorithm.type_d],
            "compute_type": algorithm.compute_type,
            "layout": algorithm.layout,
            "algorithm_id": algorithm.algorithm_id,
            "tile": algorithm.tile,
            "stages": algorithm.stages,
            "split_k": algorithm.split_k,
            "reduction_scheme": algorithm.reduction_scheme,
            "cluster": algorithm.cluster,
            "custom_option": algorithm.custom_option,
            "workspace_bytes": algorithm.workspace_bytes,
        },
    }


@lru_cache(maxsize=4096)
def _stated(parsed: KernelName) -> dict[str, Any]:
    """Return what a name states; a trace has few names and many kernels."""
    return parsed.to_dict()


def show_to_json(table: KernelTable, side: Side, rows: tuple[Row, ...]) -> str:
    """Return one trace's kernel table as JSON text: per (phase, module) its kernels in launch order.

    Args:
        table: The whole trace.
        side: What of it is shown.
        rows: The rows shown, their `a` side filled.
    """
    roles = Counter(kernel.parsed.role for row in rows for kernel in row.a)
    kernels = DistinctKernels()
    shown = [
        {
            "phase": row.phase,
            "layer": row.layer,
            "module": row.module,
            "kernels": kernels.places(row.a),
            "durations_ns": [kernel.duration_ns for kernel in row.a],
            "splitk_reduce": row.splitk_reduce[0],
            "split_k": row.split_k[0],
            "duration_ns": row.duration_ns[0],
        }
        for row in rows
    ]
    return lines_of(
        {
            "schema": SCHEMA,
            "trace": side_to_dict(side),
            "summary": {
                "kernels_in_trace": len(table),
                "kernels": side.kernels,
                "splitk_reduce": side.splitk_reduce,
                "duration_ns": side.duration_ns,
                "modules": len(rows),
                "roles": dict(sorted(roles.items())),
            },
            "kernels": kernels.stated,
            "rows": shown,
        }
    )


def lines_of(document: dict[str, Any]) -> str:
    """Write the document with one kernel and one row per line: a person can page through it, line tools can diff it."""
    lists = {name: document.pop(name) for name in ("kernels", "rows")}
    text = json_text(document, indent=1)[:-2]
    for name, entries in lists.items():
        body = ",\n  ".join(map(json_text, entries))
        text += f',\n "{name}": [\n  {body}\n ]' if entries else f',\n "{name}": []'
    return f"{text}\n}}\n"
