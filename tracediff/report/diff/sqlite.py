"""SQLite: kernel tables and the diff as tables that anyone can query. The schema is documented in docs/traces.md.

`traces`, `notes` and `kernels` of one trace or two; of a diff also `modules`, `pairs` and `warnings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from tracediff.diff.result import Kernel, Row, Side, TraceDiff
from tracediff.files import refuse_to_overwrite, replaced_when_complete
from tracediff.kernels import Types
from tracediff.report.diff.csv import sizes
from tracediff.report.diff.json import info_to_dict

_TRACE_TYPES = {
    "label": str,
    "path": str,
    "profiler": str,
    "profiler_version": str,
    "schema_version": str,
    "gpu": str,
    "sm_count": int,
    "batch": int,
    "dtype": str,
    "model": str,
    "tokens": int,
    "kernels": int,
    "splitk_reduce": int,
    "duration_ns": int,
}
_KERNEL_TYPES = {
    "id": int,
    "trace": str,
    "phase": str,
    "layer": int,
    "module": str,
    "position": int,
    "name": str,
    "family": str,
    "role": str,
    "arch": str,
    "type_a": str,
    "type_b": str,
    "type_accumulate": str,
    "type_output": str,
    "layout": str,
    "tile": str,
    "stages": int,
    "cluster": str,
    "split_k": int,
    "split_k_source": str,
    "grid": str,
    "block": str,
    "registers": int,
    "shared_memory_bytes": int,
    "duration_ns": int,
}
_MODULE_TYPES = {
    "id": int,
    "phase": str,
    "layer": int,
    "module": str,
    "splitk_reduce_a": int,
    "splitk_reduce_b": int,
    "split_k_a": int,
    "split_k_b": int,
    "duration_ns_a": int,
    "duration_ns_b": int,
    "verdict": str,
    "reason": str,
}
_PAIR_TYPES = {
    "id": int,
    "module_id": int,
    "position": int,
    "kernel_a": int,
    "kernel_b": int,
    "verdict": str,
    "reason": str,
}


def save_diff(diff: TraceDiff, path: Path, force: bool = False) -> None:
    """Write the diff to the SQLite file `path`.

    Raises:
        TracediffError: The file exists and `force` is not given, or cannot be written.
    """
    _save(path, force, {"a": diff.a, "b": diff.b}, diff.rows, diff.warnings)


def save_show(side: Side, rows: tuple[Row, ...], path: Path, force: bool = False) -> None:
    """Write one trace's kernel table (the rows' `a` side) to the SQLite file `path`, without `modules` and `pairs`."""
    _save(path, force, {"a": side}, rows, None)


def _save(
    path: Path,
    force: bool,
    sides: dict[str, Side],
    rows: tuple[Row, ...],
    warnings: tuple[str, ...] | None,
) -> None:
    """Write the tables; without warnings (not even none) the rows hold one trace, so there are no pairs."""
    import sqlite_utils  # noqa: PLC0415 -- imports pandas where it is installed: 0.4 s

    refuse_to_overwrite(path, force)
    with replaced_when_complete(path) as temporary:
        database = sqlite_utils.Database(temporary)
        with closing(database):

            def fill(name: str, types: dict[str, type], records: Iterable[dict[str, Any]], **options: Any) -> None:
                table = database.table(name)
                table.create(types, **options)
                table.insert_all(records)

            fill("traces", _TRACE_TYPES, (_trace(label, side) for label, side in sides.items()), pk="label")
            notes = ({"trace": label, "note": note} for label, side in sides.items() for note in side.notes)
            of_trace = [("trace", "traces", "label")]
            fill("notes", {"trace": str, "note": str}, notes, foreign_keys=of_trace)
            fill("kernels", _KERNEL_TYPES, _kernels(rows), pk="id", foreign_keys=of_trace)
            database.table("kernels").create_index(["phase", "module"])
            if warnings is not None and rows:
                modules = (_module(number, row) for number, row in enumerate(rows))
                fill("modules", _MODULE_TYPES, modules, pk="id")
                links = [("module_id", "modules", "id"), ("kernel_a", "kernels", "id"), ("kernel_b", "kernels", "id")]
                fill("pairs", _PAIR_TYPES, _pairs(rows), pk="id", foreign_keys=links)
                database.table("pairs").create_index(["module_id"])
                fill("warnings", {"warning": str}, ({"warning": warning} for warning in warnings))


def _trace(label: str, side: Side) -> dict[str, Any]:
    about = {key: value for key, value in info_to_dict(side.info).items() if key in _TRACE_TYPES}
    counts = {"kernels": side.kernels, "splitk_reduce": side.splitk_reduce, "duration_ns": side.duration_ns}
    return {"label": label, **about, **counts}


def _kernels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Yield the record of every kernel, numbered row by row, the `a` side first."""
    numbers = count()
    for row in rows:
        for trace, side in (("a", row.a), ("b", row.b)):
            for position, kernel in enumerate(side):
                yield _kernel(next(numbers), trace, row, position, kernel)


def _kernel(number: int, trace: str, row: Row, position: int, kernel: Kernel) -> dict[str, Any]:
    parsed = kernel.parsed
    types = parsed.types or Types()
    return {
        "id": number,
        "trace": trace,
        "phase": row.phase,
        "layer": row.layer,
        "module": row.module,
        "position": position,
        "name": parsed.name,
        "family": parsed.family,
        "role": parsed.role,
        "arch": parsed.arch,
        "type_a": types.a,
        "type_b": types.b,
        "type_accumulate": types.accumulate,
        "type_output": types.output,
        "layout": parsed.layout,
        "tile": sizes(parsed.tile),
        "stages": parsed.stages,
        "cluster": sizes(parsed.cluster),
        "split_k": kernel.split_k,
        "split_k_source": kernel.split_k_source,
        "grid": sizes(kernel.grid),
        "block": sizes(kernel.block),
        "registers": kernel.registers,
        "shared_memory_bytes": kernel.shared_memory_bytes,
        "duration_ns": kernel.duration_ns,
    }


def _module(number: int, row: Row) -> dict[str, Any]:
    both = {"splitk_reduce": row.splitk_reduce, "split_k": row.split_k, "duration_ns": row.duration_ns}
    values = {f"{name}_{side}": value for name, sides in both.items() for side, value in zip("ab", sides, strict=True)}
    place = {"id": number, "phase": row.phase, "layer": row.layer, "module": row.module}
    return {**place, **values, "verdict": str(row.verdict), "reason": row.reason}


def _pairs(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Yield the record of every pair; its kernels have the numbers that `_kernels` gives them."""
    numbers = count()
    first_a = 0
    for number, row in enumerate(rows):
        first_b = first_a + len(row.a)
        for position, pair in enumerate(row.pairs):
            yield {
                "id": next(numbers),
                "module_id": number,
                "position": position,
                "kernel_a": None if pair.index_a is None else first_a + pair.index_a,
                "kernel_b": None if pair.index_b is None else first_b + pair.index_b,
                "verdict": str(pair.verdict),
                "reason": pair.reason,
            }
        first_a = first_b + len(row.b)
