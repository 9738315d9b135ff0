"""A kernel table that `tracediff show --save` stored, read again: a baseline to compare with later."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tracediff.errors import TracediffError
from tracediff.kernels import parse
from tracediff.trace.open_export import SQLITE_ERRORS, damaged, open_export
from tracediff.trace.sqlite_export import SqliteExport
from tracediff.trace.table import Coverage, Int32, KernelTable, RangeKey, TraceInfo

#: In the header of the SQLite files that tracediff writes: `trdf`.
SAVED_APPLICATION_ID = 0x74726466
SAVED_VERSION = 2
_APPLICATION_ID = slice(68, 72)

_INFO = (
    *("profiler", "profiler_version", "schema_version", "gpu", "sm_count"),
    *("batch", "dtype", "model", "tokens"),
)
_KERNELS = (
    *("phase", "layer", "module", "name", "grid", "block", "registers", "shared_memory_bytes", "duration_ns"),
    "algorithm",
)
#: What is read; a generated column, or a view in a table's place, could make any amount out of nothing.
_TABLES = {"traces": _INFO, "kernels": ("id", *_KERNELS), "algorithms": ("id", "text")}
_SAVE_AGAIN = "save the trace again with `tracediff show --save`"
_LARGEST = 2**31 - 1


def is_saved(head: bytes) -> bool:
    """Whether a file's first bytes are those of an SQLite file that tracediff wrote."""
    return head[_APPLICATION_ID] == SAVED_APPLICATION_ID.to_bytes(4, "big")


def read_saved(path: Path) -> KernelTable:
    """Read the one trace that the file holds.

    Raises:
        TracediffError: It holds several, is of another version, or is damaged.
    """
    with closing(open_export(path)) as connection:
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SAVED_VERSION:
                raise TracediffError(f"{path} was saved by another tracediff", _SAVE_AGAIN)
            _require_stored(SqliteExport(path, connection))
            traces = connection.execute(f"SELECT {', '.join(_INFO)} FROM traces LIMIT 2").fetchall()
            if len(traces) != 1:
                raise TracediffError(
                    f"{path} holds a comparison, not one trace", "store a baseline with `tracediff show TRACE --save`"
                )
            return _table(path, dict(zip(_INFO, traces[0], strict=True)), connection)
        except SQLITE_ERRORS as error:
            raise damaged(path, error, _SAVE_AGAIN) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise TracediffError(f"{path} is damaged: {error}", _SAVE_AGAIN) from error


def _require_stored(file: SqliteExport) -> None:
    """Raise TracediffError unless everything that is read stands in the file."""
    for table, columns in _TABLES.items():
        if not file.has(table, *columns) or not file.table(table).plain(list(columns)):
            raise TracediffError(f"{file.path} is damaged: {table} is not as it was saved", _SAVE_AGAIN)


def _table(path: Path, info: dict[str, Any], connection: sqlite3.Connection) -> KernelTable:
    algorithms = dict(connection.execute("SELECT id, text FROM algorithms NOT INDEXED").fetchall())
    rows = connection.execute(f"SELECT {', '.join(_KERNELS)} FROM kernels NOT INDEXED ORDER BY id").fetchall()
    if not rows:
        raise TracediffError(f"{path} holds no kernels", _SAVE_AGAIN)
    phases, layers, modules, names, grids, blocks, registers, shared, durations, logged = zip(*rows, strict=True)
    keys = [
        RangeKey(phase=_text(p), module=_text(m) or "", layer=_whole(n))
        for p, n, m in zip(phases, layers, modules, strict=True)
    ]
    distinct_keys, key = _coded(keys)
    distinct_names, name = _coded([_text(each) or "" for each in names])
    distinct_logs, log = _coded([algorithms.get(each) for each in logged])
    missing = distinct_logs.index(None) if None in distinct_logs else -1
    in_phase = sum(each.phase is not None and not each.module for each in keys)
    outside = sum(each.phase is None for each in keys)
    order = np.arange(len(rows), dtype=np.int64)
    zeros = np.zeros(len(rows), dtype=np.int32)
    return KernelTable(
        info=TraceInfo(path=str(path), **{name: _field(name, value) for name, value in info.items()}),
        coverage=Coverage(
            kernels=len(rows),
            in_module=len(rows) - in_phase - outside,
            in_phase_only=in_phase,
            outside_ranges=outside,
            no_launch=0,
        ),
        names=tuple(distinct_names),
        parsed=tuple(map(parse, distinct_names)),
        keys=tuple(distinct_keys),
        algorithms=tuple(_text(text) or "" for text in distinct_logs),
        name=name,
        key=key,
        algorithm=np.where(log == missing, -1, log).astype(np.int32),
        iteration=zeros,
        launch_ns=order,
        start_ns=order,
        duration_ns=np.array([_count(value) for value in durations], dtype=np.int64),
        grid=_sizes(grids),
        block=_sizes(blocks),
        registers=np.array([_whole(value) for value in registers], dtype=np.int32),
        shared_memory_bytes=np.array([_whole(value) for value in shared], dtype=np.int32),
        device=zeros,
        stream=zeros,
        process=zeros,
        notes=("a saved table: one execution of each phase",),
    )


def _coded(values: list[Any]) -> tuple[list[Any], Int32]:
    """Return the distinct values in order of appearance, and for each value its index in them."""
    positions: dict[Any, int] = {}
    codes = [positions.setdefault(value, len(positions)) for value in values]
    return list(positions), np.array(codes, dtype=np.int32)


def _field(name: str, value: Any) -> Any:
    if value is None or name in ("sm_count", "batch", "tokens"):
        return _whole(value)
    return _text(value)


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not text")
    return value


def _whole(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or abs(value) > 2**62:
        raise ValueError(f"{str(value)[:40]!r} is not a whole number")
    return value


def _count(value: Any) -> int:
    found = _whole(value)
    if found is None or found < 0:
        raise ValueError(f"{str(value)[:40]!r} is not a duration")
    return found


def _sizes(texts: tuple[Any, ...]) -> Int32:
    sizes = [tuple(int(part) for part in str(text).split("x")) for text in texts]
    if any(len(each) != 3 or max(each) > _LARGEST for each in sizes):
        raise ValueError("a launch configuration has three sizes")
    return np.array(sizes, dtype=np.int32)
