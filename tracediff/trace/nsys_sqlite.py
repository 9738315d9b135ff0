"""An nsys SQLite export → kernel table.

kernel → launch call by (process, correlation id) → innermost NVTX range open on the calling thread at the call's start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracediff.errors import TracediffError
from tracediff.text import count
from tracediff.trace.assemble import Kernels, assemble
from tracediff.trace.columns import NULL, Codes, Growing, Source, Texts, count_beyond_32_bits, narrow, whole_columns
from tracediff.trace.foreign import other_database
from tracediff.trace.graphs import NODES, WHOLE_GRAPHS, read_captures
from tracediff.trace.info import read_info
from tracediff.trace.launches import Launches
from tracediff.trace.naming import Naming
from tracediff.trace.nvtx import read_events
from tracediff.trace.open_export import open_export
from tracediff.trace.sqlite_export import SqliteExport
from tracediff.trace.table import Int64, KernelTable

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
STRINGS = "StringIds"
_DIAGNOSTICS = "DIAGNOSTIC_EVENT"
_ERROR = 3  # in ENUM_DIAGNOSTIC_SEVERITY_LEVEL

_GRID = ("gridX", "gridY", "gridZ")
_BLOCK = ("blockX", "blockY", "blockZ")
_NARROW = ("deviceId", "streamId", "registersPerThread", *_GRID, *_BLOCK, "staticSharedMemory", "dynamicSharedMemory")
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


def read_nsys_sqlite(path: Path, naming: Naming) -> KernelTable:
    """Read the kernel table of an nsys SQLite export.

    Raises:
        TracediffError: The file is missing, damaged, not an nsys export, or lacks kernels, launch calls or strings.
    """
    connection = open_export(path)
    try:
        return read_export(SqliteExport(path, connection), naming)
    finally:
        connection.close()


class _Kernels(Struct):
    """The kernels' own columns, in the order of the file; which of them ran in CUDA graphs, and as which nodes."""

    columns: dict[str, npt.NDArray[Any]]
    processes: list[int]
    texts: tuple[str, ...]
    graph_kernels: Int64
    nodes: Int64
    notes: list[str]


def read_export(export: Source, naming: Naming) -> KernelTable:
    """Read the kernel table of an open export, in whatever format."""
    _check(export)
    info = read_info(export)
    kernels = _read_kernels(export)
    if not export.count(STRINGS):
        raise _no_strings(export)
    columns, notes = kernels.columns, kernels.notes
    stated = kernels.processes != [NULL]  # a version without globalPid: correlation ids alone, as it had one process
    launches = Launches(columns["process"], columns.pop("correlation"), kernels.processes if stated else None)
    calls = 0
    for rows in export.chunks(RUNTIME, ("start", "correlationId", "globalTid")):
        launches.add(rows.integers)
        calls += len(rows.integers["start"])
    if not calls:
        raise _no_calls(export)
    thread, launch = launches.result()
    threads = launches.threads.values
    del launches  # it holds every correlation id
    in_graph = kernels.graph_kernels
    process = np.array(kernels.processes)[columns["process"][in_graph]]
    capture = read_captures(export, in_graph, process, kernels.nodes)
    notes += _graph_notes(export, len(in_graph), len(capture.kernel)) + _diagnostic_notes(export)
    return assemble(
        Kernels(columns=columns, texts=kernels.texts, thread=thread, threads=threads, launch=launch),
        read_events(export),
        capture,
        info,
        notes,
        naming,
    )


_RECORD_KERNELS = "record with: nsys profile --trace=cuda,nvtx --cuda-graph-trace=node"


def _check(export: Source) -> None:
    if not export.has(STRINGS) and not export.has(KERNELS) and not export.has("META_DATA_EXPORT"):
        raise other_database(export.path, export.tables)
    if not export.has(KERNELS):
        raise _no_kernels(export)
    if not export.has(STRINGS, "id", "value"):
        raise _no_strings(export)
    if not export.has(KERNELS, "start", "end", "correlationId", "demangledName"):
        raise TracediffError(f"{export.path} has kernels in a form of no known nsys version", "export with nsys ≥ 2022")
    if not export.has(RUNTIME, "start", "correlationId", "globalTid"):
        raise _no_calls(export)


def _no_strings(export: Source) -> TracediffError:
    return TracediffError(f"{export.path} has no strings (StringIds), so no kernel names", "export it again, whole")


def _no_calls(export: Source) -> TracediffError:
    return TracediffError(f"{export.path} has no CUDA API calls, so kernels have no launch", _RECORD_KERNELS)


def _no_kernels(export: Source) -> TracediffError:
    graphs = export.count(WHOLE_GRAPHS)
    if graphs:
        launches = count(graphs, "CUDA graph launch", "CUDA graph launches")
        return TracediffError(f"{export.path} holds {launches} but none of the kernels inside", _RECORD_KERNELS)
    return TracediffError(f"{export.path} holds no CUDA kernels", _RECORD_KERNELS)


def _read_kernels(export: Source) -> _Kernels:
    growing = Growing()
    processes, names = Codes(), Codes()
    graph_kernels: list[Int64] = []
    nodes: list[Int64] = []
    backwards = beyond = seen = 0
    for rows in export.chunks(KERNELS, _KERNEL_COLUMNS):
        chunk = rows.integers
        timed = (chunk["start"] != NULL) & (chunk["end"] != NULL) & (chunk["end"] >= chunk["start"])
        backwards += len(timed) - int(timed.sum())
        beyond += sum(count_beyond_32_bits(chunk[column]) for column in _NARROW)
        columns_of_chunk: dict[str, npt.NDArray[Any]] = {
            "name": names.of(chunk["demangledName"]),
            "process": processes.of(chunk["globalPid"]),
            "correlation": chunk["correlationId"],
            "start_ns": np.where(chunk["start"] == NULL, 0, chunk["start"]),
            "duration_ns": np.maximum(np.where(timed, chunk["end"] - chunk["start"], 0), 0),
            "grid": np.stack([narrow(chunk[column]) for column in _GRID], axis=1),
            "block": np.stack([narrow(chunk[column]) for column in _BLOCK], axis=1),
            "registers": narrow(chunk["registersPerThread"]),
            "shared_memory_bytes": narrow(_plain(chunk["staticSharedMemory"]) + _plain(chunk["dynamicSharedMemory"])),
            "device": narrow(chunk["deviceId"]),
            "stream": narrow(chunk["streamId"]),
        }
        in_graph = np.flatnonzero(chunk["graphNodeId"] != NULL)
        graph_kernels.append(in_graph + seen)
        nodes.append(chunk["graphNodeId"][in_graph])
        seen += len(timed)
        growing.add(columns_of_chunk, rows.share)
    columns = growing.columns()
    if not columns:
        raise _no_kernels(export)
    texts = Texts()
    code = np.array([texts.code(text) for text in export.strings(names.values)], dtype=np.int32)
    columns["name"] = code[columns["name"]]
    notes = []
    if backwards:
        notes.append(
            f"kernels with an end before their start, or without times, counted as lasting 0 ns: {backwards:,}"
        )
    if beyond:
        notes.append(f"numbers of kernels (grid, block, registers, …) beyond 32 bits, cut to them: {beyond:,}")
    missing = [column for column in _KERNEL_COLUMNS if not export.has(KERNELS, column) and column != "graphNodeId"]
    if missing:
        notes.append(f"this nsys version wrote no {', '.join(missing)} for kernels; they read 0")
    return _Kernels(
        columns=columns,
        processes=processes.values,
        texts=texts.values,
        graph_kernels=np.concatenate(graph_kernels),
        nodes=np.concatenate(nodes),
        notes=notes,
    )


def _graph_notes(export: Source, in_graph: int, captured: int) -> list[str]:
    notes = []
    unknown = in_graph - captured
    if unknown and not export.has(NODES):
        notes.append(
            f"{count(unknown, 'kernel')} of CUDA graphs whose capture the trace does not hold: modules unknown"
        )
    elif unknown:
        notes.append(f"{count(unknown, 'kernel')} of CUDA graphs captured before the recording began: modules unknown")
    graphs = export.count(WHOLE_GRAPHS)
    if graphs:
        launches = count(graphs, "CUDA graph launch", "CUDA graph launches")
        notes.append(f"{launches} recorded whole, without the kernels inside; {_RECORD_KERNELS}")
    return notes


def _diagnostic_notes(export: Source) -> list[str]:
    if not export.has(_DIAGNOSTICS, "severity"):
        return []
    severities = whole_columns(export, _DIAGNOSTICS, ("severity",))["severity"]
    errors = int((severities == _ERROR).sum())
    if not errors:
        return []
    return [f"errors that nsys reported while it recorded: {errors:,} (table {_DIAGNOSTICS}); events may be missing"]


def _plain(values: Int64) -> Int64:
    """Clip to what no GPU exceeds, NULL to 0, so that two of these can be added."""
    return np.where(values == NULL, 0, np.clip(values, -(2**40), 2**40))
