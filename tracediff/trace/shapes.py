"""Steps of a recorded program, and their shapes: two of them within one trace can be compared.

`tracediff record` puts a range around every forward of the root module, and the shape of its first tensor into the
range's payload: batch × 2³² + tokens. A step reaches from one such forward to the next, so what a program does with the
logits belongs to the step that made them.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tracediff.errors import TracediffError
from tracediff.trace.file_head import read_head
from tracediff.trace.json_events import is_json_trace
from tracediff.trace.nvtx import DOMAIN, NVTX, OWN_DOMAIN, PUSH_POP
from tracediff.trace.open_export import SQLITE_ERRORS, damaged, open_export
from tracediff.trace.part import take
from tracediff.trace.table import KernelTable

_HALF = 32
_SHAPE = re.compile(r"(?:(\d{1,9})[x×*])?(\d{1,9})")
_SHOWN = 12
_TEXT = "COALESCE(event.text, string.value)"
_EVENTS = f"{NVTX} AS event LEFT JOIN StringIds AS string ON string.id = event.textId"
_KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One forward of the root module, up to the next one.

    Attributes:
        process: globalPid of its process, without the low bits.
        start, end: In the trace's ns; the last step's end is far away.
        shape: `8x1` (batch × tokens), or `8`: tokens of all requests, for a server that lays them end to end.
    """

    process: int
    start: int
    end: int
    shape: str


def shape_text(payload: int) -> str:
    """Return a step's payload as people write shapes: `8x1`, or `8` where there is no batch."""
    batch, tokens = payload >> _HALF, payload & (1 << _HALF) - 1
    return f"{batch}x{tokens}" if batch else str(tokens)


def read_steps(path: Path) -> list[Step]:
    """Return the steps of a trace in the order in which they began, empty where it has none.

    Raises:
        TracediffError: The file is no readable nsys export.
    """
    if path.is_dir() or is_json_trace(read_head(path)):
        return []
    with contextlib.closing(open_export(path)) as connection:
        try:
            return _steps(connection)
        except SQLITE_ERRORS as error:
            raise damaged(path, error) from error


def between(table: KernelTable, path: Path, shapes: tuple[str, str]) -> tuple[KernelTable, KernelTable]:
    """Return the kernels of the steps of one shape, and those of another's, of one trace.

    Args:
        table: The trace's kernel table.
        path: The file it was read from.
        shapes: Two shapes, as in `1x1` and `8x1`.

    Raises:
        TracediffError: The trace has no steps, or none of such a shape.
    """
    steps = read_steps(path)
    if not steps:
        raise TracediffError(
            f"{path} does not say the shapes of its steps", "record it with: tracediff record -- COMMAND"
        )
    first, second = (_kernels_of(table, path, steps, _normal(shape)) for shape in shapes)
    return first, second


def _kernels_of(table: KernelTable, path: Path, steps: list[Step], shape: str) -> KernelTable:
    mine = [step for step in steps if step.shape == shape]
    if not mine:
        counts = Counter(step.shape for step in steps).most_common()
        there = ", ".join(f"{each} ({count} ×)" for each, count in counts[:_SHOWN])
        raise TracediffError(f"{path} has no step of shape {shape}", f"it has {there}")
    keep = np.zeros(len(table), dtype=np.bool_)
    for code, process in enumerate(_processes(path)):
        windows = [step for step in mine if step.process == process]
        place = np.searchsorted(np.array([step.start for step in windows], dtype=np.int64), table.launch_ns, "right")
        ends = np.array([0, *(step.end for step in windows)], dtype=np.int64)
        keep |= (place > 0) & (table.launch_ns < ends[place]) & (table.process == code)
    if not keep.any():
        raise TracediffError(f"{path}: the steps of shape {shape} ran no kernels", "choose another shape")
    chosen = take(table, keep, (f"steps of shape {shape}: {len(mine)}",))
    batch, _, tokens = shape.rpartition("x")
    info = replace(table.info, path=f"{table.info.path} [{shape}]", batch=int(batch) if batch else None)
    return replace(chosen, info=replace(info, tokens=int(tokens) if batch else None))


def _normal(shape: str) -> str:
    found = _SHAPE.fullmatch(shape.strip())
    if found is None:
        raise TracediffError(f"{shape!r} is no shape", "give batch and tokens, as in --between 1x1 8x1")
    return f"{int(found[1])}x{int(found[2])}" if found[1] else str(int(found[2]))


def _steps(connection: sqlite3.Connection) -> list[Step]:
    columns = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({NVTX})")}
    if not {"int64Value", "domainId", "globalTid", "eventType", "textId", "text"} <= columns:
        return []
    own = {
        int(domain)
        for (domain,) in connection.execute(
            f"SELECT DISTINCT domainId FROM {_EVENTS} WHERE eventType = {DOMAIN} AND {_TEXT} = ?", (OWN_DOMAIN,)
        )
    }
    rows = connection.execute(
        f"SELECT globalTid >> 24, {_TEXT}, start, COALESCE(end, start), int64Value, domainId FROM {_EVENTS} "
        f"WHERE eventType = {PUSH_POP} AND int64Value IS NOT NULL ORDER BY start"
    ).fetchall()
    rows = [row for row in rows if row[5] in own]
    took = Counter[str]()
    for _, text, start, end, _, _ in rows:
        took[text] += end - start
    # A program has other root modules too (a sampler, a small model that drafts); the one that takes longest steps.
    longest = max(took, key=lambda text: took[text], default=None)
    steps: list[Step] = []
    ends: dict[int, int] = {}
    for process, text, start, _, payload, _ in reversed(rows):
        if text == longest:
            end = ends.get(process, np.iinfo(np.int64).max)
            steps.append(Step(process=process, start=start, end=int(end), shape=shape_text(payload)))
            ends[process] = start
    return steps[::-1]


def _processes(path: Path) -> list[int]:
    """Return the processes that ran kernels, in the order of the table's process codes."""
    with contextlib.closing(open_export(path)) as connection:
        if "globalPid" not in {name for _, name, *_ in connection.execute(f"PRAGMA table_info({_KERNELS})")}:
            return []
        rows = connection.execute(f"SELECT globalPid >> 24 FROM {_KERNELS} GROUP BY globalPid ORDER BY MIN(rowid)")
        return [int(process) for (process,) in rows]
