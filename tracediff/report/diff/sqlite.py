"""SQLite: kernel tables and the diff as tables that anyone can query. The schema is documented in docs/traces.md.

`traces`, `notes`, `algorithms` and `kernels`; of a diff also `answers`, `modules`, `pairs` and `warnings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from tracediff.diff.answer import answer
from tracediff.diff.result import Kernel, Row, Side, TraceDiff
from tracediff.files import refuse_to_overwrite, replaced_when_complete
from tracediff.kernels import Types
from tracediff.report.diff.csv import sizes
from tracediff.report.diff.json import info_to_dict
from tracediff.text import without_surrogates
from tracediff.trace.saved import SAVED_APPLICATION_ID, SAVED_VERSION

_LETTERS = 26
#: Rows per statement: SQLite binds at most so many values, and sqlite-utils counts them itself.
_BATCH = 10_000

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
_ANSWER_TYPES = {
    "comparison": int,
    "judgement": str,
    "measured": int,
    "outcome": str,
    "cause": str,
    "not_judged": str,
    "settle": str,
}
_KERNEL_TYPES = {
    "id": int,
    "comparison": int,
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
    "algorithm": int,
}
_MODULE_TYPES = {
    "id": int,
    "comparison": int,
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
    "bits_equal": int,
    "state": str,
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


def save_diffs(diffs: Sequence[TraceDiff], path: Path, force: bool = False) -> None:
    """Write comparisons of one first trace with others to the SQLite file `path`.

    Traces are labelled `a`, `b`, `c`, …; `comparison` counts from 1.

    Raises:
        TracediffError: The file exists and `force` is not given, or cannot be written.
    """
    sides = {"a": diffs[0].a, **{_label(number): diff.b for number, diff in enumerate(diffs, start=1)}}
    _save(path, force, sides, [diff.rows for diff in diffs], diffs)


def save_show(side: Side, rows: tuple[Row, ...], path: Path, force: bool = False) -> None:
    """Write one trace's kernel table (the rows' `a` side) to the SQLite file `path`; `diff` reads it again."""
    _save(path, force, {"a": side}, [rows], ())


def _label(number: int) -> str:
    """Return `b` for the first trace compared, `c` for the second, …"""
    return chr(ord("a") + number) if number < _LETTERS else f"trace{number}"


def _save(
    path: Path,
    force: bool,
    sides: dict[str, Side],
    compared: Sequence[tuple[Row, ...]],
    diffs: Sequence[TraceDiff],
) -> None:
    import sqlite_utils  # noqa: PLC0415 -- imports pandas where it is installed: 0.4 s

    refuse_to_overwrite(path, force)
    with replaced_when_complete(path) as temporary:
        database = sqlite_utils.Database(temporary)
        with closing(database):
            # The file is renamed into place when it is whole, so that no batch needs a journal or a sync of its own.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(f"PRAGMA application_id = {SAVED_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SAVED_VERSION}")
            _fill(database, sides, compared, diffs)


def _fill(
    database: Any, sides: dict[str, Side], compared: Sequence[tuple[Row, ...]], diffs: Sequence[TraceDiff]
) -> None:
    def fill(name: str, types: dict[str, type], records: Iterable[dict[str, Any]], **options: Any) -> None:
        table = database.table(name)
        table.create(types, **options)
        table.insert_all(records, batch_size=_BATCH)

    fill("traces", _TRACE_TYPES, (_trace(label, side) for label, side in sides.items()), pk="label")
    notes = ({"trace": label, "note": note} for label, side in sides.items() for note in side.notes)
    of_trace = [("trace", "traces", "label")]
    fill("notes", {"trace": str, "note": str}, notes, foreign_keys=of_trace)
    logged = _Numbered()
    kernels = list(_kernels(compared, logged))
    fill("algorithms", {"id": int, "text": str}, logged.records(), pk="id")
    fill("kernels", _KERNEL_TYPES, kernels, pk="id", foreign_keys=[*of_trace, ("algorithm", "algorithms", "id")])
    database.table("kernels").create_index(["phase", "module"])
    if not diffs:
        return
    answers = ({"comparison": number, **_answer(diff)} for number, diff in enumerate(diffs, start=1))
    fill("answers", _ANSWER_TYPES, answers, pk="comparison")
    if any(compared):
        fill("modules", _MODULE_TYPES, _modules(compared), pk="id")
        links = [("module_id", "modules", "id"), ("kernel_a", "kernels", "id"), ("kernel_b", "kernels", "id")]
        fill("pairs", _PAIR_TYPES, _pairs(compared), pk="id", foreign_keys=links)
        database.table("pairs").create_index(["module_id"])
    warnings = (
        {"comparison": number, "warning": warning}
        for number, diff in enumerate(diffs, start=1)
        for warning in diff.warnings
    )
    fill("warnings", {"comparison": int, "warning": str}, warnings)


class _Numbered:
    """Distinct texts, numbered from 1."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers) + 1)

    def records(self) -> Iterator[dict[str, Any]]:
        return ({"id": number, "text": text} for text, number in self._numbers.items())


def _answer(diff: TraceDiff) -> dict[str, Any]:
    found = answer(diff)
    return {
        "judgement": str(found.judgement),
        "measured": found.measured,
        "outcome": found.outcome,
        "cause": found.cause,
        "not_judged": found.not_judged,
        "settle": found.settle,
    }


def _trace(label: str, side: Side) -> dict[str, Any]:
    about = {key: value for key, value in info_to_dict(side.info).items() if key in _TRACE_TYPES}
    counts = {"kernels": side.kernels, "splitk_reduce": side.splitk_reduce, "duration_ns": side.duration_ns}
    # The path of a file whose name is no UTF-8.
    return {"label": label, **about, "path": without_surrogates(side.info.path), **counts}


def _kernels(compared: Sequence[tuple[Row, ...]], logged: _Numbered) -> Iterator[dict[str, Any]]:
    """Yield the record of every kernel, numbered row by row, the `a` side first."""
    numbers = count()
    for comparison, rows in enumerate(compared, start=1):
        for row in rows:
            for trace, side in (("a", row.a), (_label(comparison), row.b)):
                for position, kernel in enumerate(side):
                    algorithm = None if kernel.algorithm is None else logged.number(kernel.algorithm.text)
                    place = {"id": next(numbers), "comparison": comparison, "trace": trace, "position": position}
                    yield {**place, **_kernel(row, kernel), "algorithm": algorithm}


def _kernel(row: Row, kernel: Kernel) -> dict[str, Any]:
    parsed = kernel.parsed
    types = parsed.types or Types()
    return {
        "phase": row.phase,
        "layer": row.layer,
        "module": row.module,
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


def _modules(compared: Sequence[tuple[Row, ...]]) -> Iterator[dict[str, Any]]:
    numbers = count()
    for comparison, rows in enumerate(compared, start=1):
        for row in rows:
            yield {"id": next(numbers), "comparison": comparison, **_module(row)}


def _module(row: Row) -> dict[str, Any]:
    both = {"splitk_reduce": row.splitk_reduce, "split_k": row.split_k, "duration_ns": row.duration_ns}
    values = {f"{name}_{side}": value for name, sides in both.items() for side, value in zip("ab", sides, strict=True)}
    place = {"phase": row.phase, "layer": row.layer, "module": row.module}
    measured = {"bits_equal": row.bits_equal, "state": None if row.state is None else str(row.state)}
    return {**place, **values, "verdict": str(row.verdict), "reason": row.reason, **measured}


def _pairs(compared: Sequence[tuple[Row, ...]]) -> Iterator[dict[str, Any]]:
    """Yield the record of every pair; its kernels have the numbers that `_kernels` gives them."""
    numbers = count()
    first_a = 0
    for module, row in enumerate(row for rows in compared for row in rows):
        first_b = first_a + len(row.a)
        for position, pair in enumerate(row.pairs):
            yield {
                "id": next(numbers),
                "module_id": module,
                "position": position,
                "kernel_a": None if pair.index_a is None else first_a + pair.index_a,
                "kernel_b": None if pair.index_b is None else first_b + pair.index_b,
                "verdict": str(pair.verdict),
                "reason": pair.reason,
            }
        first_a = first_b + len(row.b)
