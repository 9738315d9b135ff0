"""A PyTorch profiler trace (Chrome JSON as `export_chrome_trace` writes it, gzipped or not) → kernel table.

kernel → launch call by correlation id → innermost range open on the calling thread. Ranges are `record_function`
blocks and, where the Python stack was recorded, nn.Module calls. A trace without a GPU holds operators only; those that
compute then stand in the kernels' place, so that two CPU runs compare, and the table says so.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracediff.errors import TracediffError
from tracediff.trace.assemble import Kernels, assemble, narrow
from tracediff.trace.columns import NULL, Texts
from tracediff.trace.graphs import Capture
from tracediff.trace.info import described
from tracediff.trace.json_events import open_events
from tracediff.trace.launches import Launches
from tracediff.trace.naming import Naming
from tracediff.trace.nvtx import DOMAIN, OWN_DOMAIN, PUSH_POP, Events, find_ranges
from tracediff.trace.ranges import NONE, nest
from tracediff.trace.table import Int64, KernelTable, TraceInfo
from tracediff.trace.torch_modules import PREFIX, module_paths

#: Categories by what they mean here; profilers before 2022 wrote them in capitals.
_CALLS = frozenset({"cuda_runtime", "cuda_driver", "hip_runtime", "hip_driver", "runtime", "driver"})
_KERNELS = frozenset({"kernel"})
_OPERATORS = frozenset({"cpu_op", "operator"})
_ANNOTATIONS = frozenset({"user_annotation"})
#: Operators that compute nothing: they allocate, or make another view of the same elements.
_BOOKKEEPING = re.compile(
    "aten::(_reshape_alias|_unsafe_view|alias|as_strided|chunk|contiguous|detach|empty|empty_like|empty_strided|expand|"
    "expand_as|flatten|is_nonzero|item|narrow|permute|reshape|resize_|resolve_conj|resolve_neg|result_type|select|slice|"
    "split|squeeze|t|to|transpose|unbind|unflatten|unsqueeze|view|view_as)"
)
_LONGEST_US = 4e15
_NO_ONE = np.zeros(0, dtype=np.int64)


class _Columns:
    """Events of one kind, as growing columns."""

    def __init__(self, *names: str) -> None:
        self._arrays = {name: array("q") for name in names}

    def add(self, *values: int) -> None:
        for column, value in zip(self._arrays.values(), values, strict=True):
            column.append(value)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, name: str) -> Int64:
        return np.frombuffer(self._arrays[name], dtype=np.int64).copy()


def read_torch_json(path: Path, naming: Naming) -> KernelTable:
    """Read the kernel table of a PyTorch profiler trace.

    Raises:
        TracediffError: The file is no such trace, is damaged, or holds neither kernels nor operators.
    """
    kernels = _Columns(
        "name", "start", "duration", "device", "stream", "correlation", "registers", "shared",
        "grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z",
    )  # fmt: skip
    calls = _Columns("start", "globalTid", "correlationId")
    ranges = _Columns("text", "start", "end", "thread")
    operators = _Columns("text", "start", "end", "thread")
    names, texts, threads = Texts(), Texts(), _Threads()
    skipped = 0
    with open_events(path) as (head, events):
        for event in events:
            category = event.get("cat")
            if event.get("ph") != "X" or not isinstance(category, str):
                continue
            category = category.lower()
            start, duration = _ns(event.get("ts")), _ns(event.get("dur", 0))
            name, arguments = str(event.get("name")), event.get("args")
            arguments = arguments if isinstance(arguments, dict) else {}
            if start is None or duration is None:
                skipped += 1
            elif category in _KERNELS:
                kernels.add(
                    names.code(name),
                    start,
                    max(duration, 0),
                    _integer(arguments.get("device")),
                    _integer(arguments.get("stream")),
                    _integer(arguments.get("correlation"), NULL),
                    _integer(arguments.get("registers per thread")),
                    _integer(arguments.get("shared memory")),
                    *_three(arguments.get("grid")),
                    *_three(arguments.get("block")),
                )
            elif category in _CALLS:
                calls.add(start, threads.code(event), _integer(arguments.get("correlation"), NULL))
            elif category in _ANNOTATIONS or name.startswith(PREFIX):
                ranges.add(texts.code(name), start, start + duration, threads.code(event))
            elif category in _OPERATORS and not _BOOKKEEPING.fullmatch(name):
                operators.add(texts.code(name), start, start + duration, threads.code(event))
    notes = [f"{skipped:,} events have no usable times and were left out"] if skipped else []
    found = _events(ranges, texts.values)
    found = _with_paths(found)
    if head.get("profiledBy") == OWN_DOMAIN and len(found.start):
        found = _in_own_domain(found)
    info = _info(path, head)
    none = Capture(kernel=_NO_ONE, thread=_NO_ONE, moment=_NO_ONE)
    if not len(kernels):
        if not len(operators):
            raise TracediffError(f"{path} holds neither kernels nor operators", "record with torch.profiler.profile()")
        notes.append("no GPU kernels were recorded: the rows are CPU operators that compute and call no other")
        return assemble(_leaves(_events(operators, texts.values), threads), found, none, info, notes, naming)
    launches = Launches(np.zeros(len(kernels), dtype=np.int32), kernels["correlation"], None)
    launches.add({column: calls[column] for column in ("start", "globalTid", "correlationId")})
    thread, launch = launches.result()
    columns: dict[str, npt.NDArray[Any]] = {
        "name": kernels["name"].astype(np.int32),
        "process": np.zeros(len(kernels), dtype=np.int32),
        "start_ns": kernels["start"],
        "duration_ns": kernels["duration"],
        "grid": np.stack([narrow(kernels[f"grid_{axis}"]) for axis in "xyz"], axis=1),
        "block": np.stack([narrow(kernels[f"block_{axis}"]) for axis in "xyz"], axis=1),
        "registers": narrow(kernels["registers"]),
        "shared_memory_bytes": narrow(kernels["shared"]),
        "device": narrow(kernels["device"]),
        "stream": narrow(kernels["stream"]),
    }
    graph_launches = _kernels_of_shared_launches(kernels["correlation"])
    if graph_launches:
        notes.append(
            f"{graph_launches:,} kernels ran in CUDA graphs: torch's profiler does not say in which modules they were "
            "captured; nsys with --cuda-graph-trace=node does"
        )
    table = Kernels(columns=columns, texts=names.values, thread=thread, threads=launches.threads.values, launch=launch)
    return assemble(table, found, none, info, notes, naming)


class _Threads:
    """Threads as numbers that stand below any process: one trace holds one process."""

    def __init__(self) -> None:
        self._codes: dict[tuple[object, object], int] = {}

    def code(self, event: dict[str, Any]) -> int:
        where = (repr(event.get("pid")), repr(event.get("tid")))
        return self._codes.setdefault(where, len(self._codes) + 1)

    @property
    def values(self) -> list[int]:
        return list(self._codes.values())


def _events(ranges: _Columns, texts: tuple[str, ...]) -> Events:
    count = len(ranges)
    return Events(
        start=ranges["start"],
        end=ranges["end"],
        kind=np.full(count, PUSH_POP, dtype=np.int64),
        thread=ranges["thread"],
        end_thread=np.full(count, NULL, dtype=np.int64),
        domain=np.zeros(count, dtype=np.int64),
        text=ranges["text"].astype(np.int32),
        texts=texts,
    )


def _in_own_domain(events: Events) -> Events:
    """Add the row that names the ranges' domain: in tracediff's own captures the phases stand inside `run`."""
    events = events.take(np.append(np.arange(len(events.start)), 0))
    events.kind[-1], events.text[-1] = DOMAIN, len(events.texts)
    return replace(events, texts=(*events.texts, OWN_DOMAIN))


def _with_paths(events: Events) -> Events:
    """Replace the texts of nn.Module calls by their paths."""
    if not any(text.startswith(PREFIX) for text in events.texts):
        return events
    ranges = find_ranges(events)
    paths = module_paths(ranges.parent, ranges.text.astype(np.int64), events.texts)
    return events.renamed([paths.get(code, text) for code, text in enumerate(events.texts)])


def _leaves(operators: Events, threads: _Threads) -> Kernels:
    """Return the operators that call no other that computes, as kernels that launch themselves."""
    rows: list[Int64] = []
    for thread in threads.values:
        mine = np.flatnonzero((operators.thread == thread) & (operators.end > operators.start))
        mine = mine[np.lexsort((-operators.end[mine], operators.start[mine]))]
        parent = nest(operators.start[mine], operators.end[mine]).parent
        is_leaf = np.ones(len(mine), dtype=np.bool_)
        is_leaf[parent[parent != NONE]] = False
        rows.append(mine[is_leaf])
    leaves = operators.take(np.sort(np.concatenate(rows)))
    count = len(leaves.start)
    nothing = np.zeros(count, dtype=np.int32)
    distinct = Texts()
    name = np.array([distinct.code(leaves.texts[code]) for code in leaves.text.tolist()], dtype=np.int32)
    return Kernels(
        columns={
            "name": name,
            "start_ns": leaves.start,
            "duration_ns": leaves.end - leaves.start,
            "grid": np.zeros((count, 3), dtype=np.int32),
            "block": np.zeros((count, 3), dtype=np.int32),
            **{
                column: nothing.copy() for column in ("process", "registers", "shared_memory_bytes", "device", "stream")
            },
        },
        texts=distinct.values,
        thread=(leaves.thread - 1).astype(np.int32),
        threads=threads.values,
        launch=leaves.start,
    )


def _kernels_of_shared_launches(correlation: Int64) -> int:
    """Count the kernels that share their launch with others: only a graph's launch starts several."""
    known = correlation[correlation != NULL]
    distinct, count = np.unique(known, return_counts=True)
    return int(count[count > 1].sum()) if len(distinct) else 0


def _info(path: Path, head: dict[str, Any]) -> TraceInfo:
    devices = head.get("deviceProperties")
    device = devices[0] if isinstance(devices, list) and devices and isinstance(devices[0], dict) else {}
    versions = {
        name: str(head[key])
        for name, key in (("cuda_driver", "cuda_driver_version"), ("cuda_runtime", "cuda_runtime_version"))
        if isinstance(head.get(key), int)
    }
    gpu, sm_count = device.get("name"), device.get("numSms")
    return described(
        path,
        profiler="torch",
        profiler_version=None,
        schema_version=str(head["schemaVersion"]) if isinstance(head.get("schemaVersion"), int) else None,
        gpu=gpu if isinstance(gpu, str) else None,
        sm_count=sm_count if isinstance(sm_count, int) else None,
        versions=versions,
    )


def _ns(microseconds: object) -> int | None:
    """Return a time in ns, None for what is no time."""
    if isinstance(microseconds, bool) or not isinstance(microseconds, int | float):
        return None
    if not math.isfinite(microseconds) or abs(microseconds) > _LONGEST_US:
        return None
    return round(microseconds * 1000)


def _integer(value: object, otherwise: int = 0) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and -(2**62) < value < 2**62:
        return value
    return otherwise


def _three(value: object) -> Iterator[int]:
    values = value if isinstance(value, list) else []
    return (_integer(values[axis]) if axis < len(values) else 0 for axis in range(3))
