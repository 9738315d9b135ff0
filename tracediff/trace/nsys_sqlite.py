"""An nsys SQLite export → kernel table.

kernel → launch call by (process, correlation id) → innermost NVTX range open on the calling thread at the call's start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracediff.errors import TracediffError
from tracediff.kernels import parse
from tracediff.trace.algorithm import is_algorithm_log
from tracediff.trace.attribution import Attribution, attribute
from tracediff.trace.columns import NULL, Codes, Export, Texts
from tracediff.trace.graphs import NODES, Capture, read_captures, whole_graphs
from tracediff.trace.info import read_info
from tracediff.trace.launches import Launches
from tracediff.trace.nvtx import find_marks, find_ranges, read_events
from tracediff.trace.open_export import open_export
from tracediff.trace.table import Coverage, Int32, Int64, KernelTable, RangeKey

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
STRINGS = "StringIds"

_GRID = ("gridX", "gridY", "gridZ")
_BLOCK = ("blockX", "blockY", "blockZ")
_KERNEL_COLUMNS = (
    "start",
    "end",
    "deviceId",
    "streamId",
    "correlationId",
    "globalPid",
    "demangledName",
    "registersPerThread",
    *_GRID,
    *_BLOCK,
    "staticSharedMemory",
    "dynamicSharedMemory",
    "graphNodeId",
)


def read_nsys_sqlite(path: Path) -> KernelTable:
    """Read the kernel table of an nsys SQLite export.

    Raises:
        TracediffError: The file is missing, damaged, no nsys export, or lacks kernels, launch calls or strings.
    """
    connection = open_export(path)
    try:
        return _read(Export(path, connection))
    finally:
        connection.close()


@dataclass(slots=True)
class _Kernels:
    """The kernels' own columns, in the order of the file."""

    columns: dict[str, npt.NDArray[Any]]
    processes: list[int]
    texts: tuple[str, ...]
    notes: list[str]

    def reorder(self, order: Int64) -> None:
        for name in self.columns:  # one after the other: a single column is held twice
            self.columns[name] = self.columns[name][order]


def _read(export: Export) -> KernelTable:
    _check(export)
    info = read_info(export)
    kernels = _read_kernels(export)
    columns, notes = kernels.columns, kernels.notes
    stated = kernels.processes != [NULL]  # a version without globalPid: correlation ids alone, as it had one process
    launches = Launches(columns["process"], columns.pop("correlation"), kernels.processes if stated else None)
    for rows in export.chunks(RUNTIME, ("start", "correlationId", "globalTid")):
        launches.add(rows.integers)
    thread, launch = launches.result()
    threads = launches.threads.values
    events = read_events(export)
    ranges = find_ranges(events)
    notes += ranges.notes
    node = columns.pop("node")
    in_graph = np.flatnonzero(node != NULL)
    process = np.array(kernels.processes)[columns["process"][in_graph]]
    capture = read_captures(export, in_graph, process, node[in_graph])
    found = attribute(ranges, thread, threads, launch, capture)
    notes += _graph_notes(export, len(in_graph), len(capture.kernel), found)
    launch_ns = np.where(launch == NULL, columns["start_ns"], launch)
    order = _launch_order(launch_ns, capture, columns["start_ns"])
    innermost, key, iteration = found.innermost, found.key, found.iteration
    if order is not None:
        kernels.reorder(order)
        thread, launch, launch_ns = thread[order], launch[order], launch_ns[order]
        innermost, key, iteration = innermost[order], key[order], iteration[order]

    parsed = tuple(parse(text) for text in kernels.texts)
    keys, key = _in_order_of_launch(found.keys, key)
    is_gemm = np.array([each.role == "gemm" for each in parsed], dtype=bool)
    wanted = np.array([is_algorithm_log(text) for text in events.texts], dtype=bool)
    marks = find_marks(events, wanted)
    algorithms: tuple[str, ...] = ()
    algorithm = np.full(len(key), -1, dtype=np.int32)
    if len(marks.time):
        codes = {tid: code for code, tid in enumerate(threads)}
        mark_thread = np.array([codes.get(tid, -2) for tid in marks.thread.tolist()], dtype=np.int32)
        around = ranges.innermost(mark_thread, threads, marks.time)
        given = _give_marks((mark_thread, marks.time, around), (thread, launch_ns, innermost), is_gemm[columns["name"]])
        distinct = Codes()
        has = np.flatnonzero(given >= 0)
        algorithm[has] = distinct.of(marks.text[given[has]].astype(np.int64))
        algorithms = tuple(marks.texts[code] for code in distinct.values)
    return KernelTable(
        info=info,
        coverage=_coverage(keys, key, launch, found),
        names=kernels.texts,
        parsed=parsed,
        keys=keys,
        algorithms=algorithms,
        key=key,
        algorithm=algorithm,
        iteration=iteration,
        launch_ns=launch_ns,
        notes=tuple(notes),
        **columns,
    )


_RECORD_KERNELS = "record with: nsys profile --trace=cuda,nvtx --cuda-graph-trace=node"


def _check(export: Export) -> None:
    if not export.has(STRINGS) and not export.has(KERNELS) and not export.has("META_DATA_EXPORT"):
        raise TracediffError(
            f"{export.path} is an SQLite database, but no nsys export",
            "make one with: nsys export --type sqlite report.nsys-rep",
        )
    if not export.has(KERNELS):
        raise _no_kernels(export)
    if not export.has(STRINGS, "id", "value"):
        raise TracediffError(f"{export.path} has no strings (StringIds), so no kernel names", "export it again, whole")
    if not export.has(KERNELS, "start", "end", "correlationId", "demangledName"):
        raise TracediffError(f"{export.path} has kernels in a form of no known nsys version", "export with nsys ≥ 2022")
    if not export.has(RUNTIME, "start", "correlationId", "globalTid"):
        raise TracediffError(f"{export.path} has no CUDA API calls, so kernels have no launch", _RECORD_KERNELS)


def _no_kernels(export: Export) -> TracediffError:
    graphs = whole_graphs(export)
    if graphs:
        what = f"{export.path} holds {graphs} CUDA graph launches but none of the kernels inside"
        return TracediffError(what, _RECORD_KERNELS)
    return TracediffError(f"{export.path} holds no CUDA kernels", _RECORD_KERNELS)


def _read_kernels(export: Export) -> _Kernels:
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    processes, names = Codes(), Codes()
    backwards = 0
    for rows in export.chunks(KERNELS, _KERNEL_COLUMNS):
        chunk = rows.integers
        timed = (chunk["start"] != NULL) & (chunk["end"] != NULL) & (chunk["end"] >= chunk["start"])
        backwards += len(timed) - int(timed.sum())
        narrow: dict[str, npt.NDArray[Any]] = {
            "name": names.of(chunk["demangledName"]),
            "process": processes.of(chunk["globalPid"]),
            "correlation": chunk["correlationId"],
            "node": chunk["graphNodeId"],
            "start_ns": np.where(chunk["start"] == NULL, 0, chunk["start"]),
            "duration_ns": np.maximum(np.where(timed, chunk["end"] - chunk["start"], 0), 0),
            "grid": np.stack([_small(chunk[column]) for column in _GRID], axis=1),
            "block": np.stack([_small(chunk[column]) for column in _BLOCK], axis=1),
            "registers": _small(chunk["registersPerThread"]),
            "shared_memory_bytes": _small(_plain(chunk["staticSharedMemory"]) + _plain(chunk["dynamicSharedMemory"])),
            "device": _small(chunk["deviceId"]),
            "stream": _small(chunk["streamId"]),
        }
        for name, values in narrow.items():
            parts.setdefault(name, []).append(values)
    if not parts:
        raise _no_kernels(export)
    columns = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    texts = Texts()
    code = np.array([texts.code(text) for text in export.strings(names.values)], dtype=np.int32)
    columns["name"] = code[columns["name"]]
    notes = []
    if backwards:
        notes.append(f"{backwards:,} kernels have an end before their start, or no times; they count as lasting 0 ns")
    missing = [column for column in _KERNEL_COLUMNS if not export.has(KERNELS, column) and column != "graphNodeId"]
    if missing:
        notes.append(f"this nsys version wrote no {', '.join(missing)} for kernels; they read 0")
    return _Kernels(columns=columns, processes=processes.values, texts=texts.values, notes=notes)


def _graph_notes(export: Export, in_graph: int, captured: int, found: Attribution) -> list[str]:
    notes = []
    if found.captured:
        notes.append(f"{found.captured:,} kernels of replayed CUDA graphs stand in the modules that were captured")
    unknown = in_graph - captured
    if unknown and not export.has(NODES):
        notes.append(
            f"{unknown:,} kernels ran in CUDA graphs whose capture is not in the trace: their modules are unknown"
        )
    elif unknown:
        notes.append(
            f"{unknown:,} kernels ran in CUDA graphs captured before the recording began: their modules are unknown"
        )
    graphs = whole_graphs(export)
    if graphs:
        notes.append(
            f"{graphs:,} CUDA graph launches were recorded whole: the kernels inside are missing; {_RECORD_KERNELS}"
        )
    if found.from_other_threads:
        notes.append(f"{found.from_other_threads:,} kernels were given to ranges that were open on another thread")
    return notes


def _launch_order(launch_ns: Int64, capture: Capture, start: Int64) -> Int64 | None:
    """Return the order of launch, None where the rows have it already.

    Kernels of one graph have one launch; they stand in the order of capture, whatever order they ran in.
    """
    steps = np.diff(launch_ns)
    ties = np.flatnonzero(steps == 0)
    if not len(capture.kernel) and (steps >= 0).all() and (start[ties + 1] >= start[ties]).all():
        return None
    order = np.argsort(start, kind="stable")
    if len(capture.kernel):
        captured = np.zeros_like(start)
        captured[capture.kernel] = capture.moment
        order = order[np.argsort(captured[order], kind="stable")]
    return order[np.argsort(launch_ns[order], kind="stable")]


def _in_order_of_launch(keys: tuple[RangeKey, ...], key: Int32) -> tuple[tuple[RangeKey, ...], Int32]:
    """Return the keys that kernels have, in order of first launch, and each kernel's."""
    first = np.full(len(keys), len(key), dtype=np.int64)
    first[key[::-1]] = np.arange(len(key) - 1, -1, -1)
    by_launch = np.argsort(first, kind="stable")
    by_launch = by_launch[first[by_launch] < len(key)]
    rank = np.zeros(len(keys), dtype=np.int32)
    rank[by_launch] = np.arange(len(by_launch), dtype=np.int32)
    return tuple(keys[code] for code in by_launch.tolist()), rank[key]


def _give_marks(
    marks: tuple[Int32, Int64, Int64], kernels: tuple[Int32, Int64, Int64], is_gemm: npt.NDArray[np.bool_]
) -> Int64:
    """Give each mark to the first GEMM launched after it on its thread, inside the same range.

    Args:
        marks: Thread, time and innermost range of each mark.
        kernels: Thread, launch and innermost range of each kernel.
        is_gemm: Whether each kernel multiplies matrices.

    Returns:
        The index of each kernel's mark, -1 for none.
    """
    (mark_thread, time, around), (thread, launch_ns, innermost) = marks, kernels
    result = np.full(len(thread), -1, dtype=np.int64)
    gemms = np.flatnonzero(is_gemm & (thread >= 0))
    for each in np.unique(mark_thread).tolist():
        mine = np.flatnonzero(mark_thread == each)
        mine = mine[np.argsort(time[mine], kind="stable")]
        launched = gemms[thread[gemms] == each]
        if not len(launched):
            continue
        last = np.searchsorted(time[mine], launch_ns[launched], side="right") - 1
        first_after = np.r_[True, last[1:] != last[:-1]] & (last >= 0)
        launched, mark = launched[first_after], mine[last[first_after]]
        same = around[mark] == innermost[launched]
        result[launched[same]] = mark[same]
    return result


def _coverage(keys: tuple[RangeKey, ...], key: Int32, launch: Int64, found: Attribution) -> Coverage:
    kernels = np.bincount(key, minlength=len(keys)).tolist()
    outside = next((code for code, each in enumerate(keys) if each.phase is None), len(keys))
    no_launch = int(((key == outside) & (launch == NULL)).sum())
    in_module = sum(count for each, count in zip(keys, kernels, strict=True) if each.module)
    in_phase = sum(count for each, count in zip(keys, kernels, strict=True) if each.phase is not None) - in_module
    return Coverage(
        kernels=len(key),
        in_module=in_module,
        in_phase_only=in_phase,
        outside_ranges=len(key) - in_module - in_phase - no_launch,
        no_launch=no_launch,
        captured=found.captured,
        from_other_threads=found.from_other_threads,
    )


def _plain(values: Int64) -> Int64:
    """Clip to what no GPU exceeds, NULL to 0, so that two of these can be added."""
    return np.where(values == NULL, 0, np.clip(values, -(2**40), 2**40))


def _small(values: Int64) -> Int32:
    """Narrow a column; NULL and what no GPU has become 0 and the nearest 32-bit number."""
    limits = np.iinfo(np.int32)
    return np.where(values == NULL, 0, np.clip(values, limits.min, limits.max)).astype(np.int32)
