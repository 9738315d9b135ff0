"""An nsys SQLite export → kernel table.

kernel → launch call by (process, correlation id) → innermost NVTX range open on the calling thread at the call's start.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tracediff.errors import TracediffError
from tracediff.kernels import parse
from tracediff.trace.algorithm import is_algorithm_log
from tracediff.trace.columns import NULL, Export
from tracediff.trace.info import read_info
from tracediff.trace.nvtx import Ranges, read_marks, read_ranges
from tracediff.trace.open_export import open_export
from tracediff.trace.table import Coverage, Int32, Int64, KernelTable, RangeKey

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
STRINGS = "StringIds"

#: The low 24 bits of nsys's globalTid are the thread; above them stands the process (globalPid).
_THREAD_BITS = np.int64(0xFFFFFF)

_KERNEL_COLUMNS = (
    "start",
    "end",
    "deviceId",
    "streamId",
    "correlationId",
    "globalPid",
    "demangledName",
    "registersPerThread",
    "gridX",
    "gridY",
    "gridZ",
    "blockX",
    "blockY",
    "blockZ",
    "staticSharedMemory",
    "dynamicSharedMemory",
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


def _read(export: Export) -> KernelTable:
    _check(export)
    info = read_info(export)
    kernels = export.integers(KERNELS, _KERNEL_COLUMNS)
    if len(kernels["start"]) == 0:
        raise TracediffError(f"{export.path} holds no CUDA kernels", _RECORD_KERNELS)
    thread, launch = _launches(export, kernels)
    ranges = read_ranges(export)
    innermost = ranges.innermost(thread, launch)
    # Launch order is what a module's kernel sequence means; the kernel's own start stands in where no call is known.
    launch_ns = np.where(launch == NULL, kernels["start"], launch)
    order = np.lexsort((kernels["start"], launch_ns))
    kernels = {column: values[order] for column, values in kernels.items()}
    thread, launch_ns, innermost = thread[order], launch_ns[order], innermost[order]

    names, name = _names(export, kernels["demangledName"])
    parsed = tuple(parse(text) for text in names)
    keys, key = _keys(ranges, innermost)
    is_gemm = np.array([each.role == "gemm" for each in parsed], dtype=bool)[name]
    algorithms, algorithm = _algorithms(export, ranges, thread, launch_ns, innermost, is_gemm)
    no_launch = int((launch == NULL).sum())
    in_module = int(np.array([bool(each.module) for each in keys], dtype=bool)[key].sum())
    return KernelTable(
        info=info,
        coverage=Coverage(
            kernels=len(name),
            in_module=in_module,
            in_phase_only=int((innermost >= 0).sum()) - in_module,
            outside_ranges=int((innermost < 0).sum()) - no_launch,
            no_launch=no_launch,
        ),
        names=names,
        parsed=parsed,
        keys=keys,
        algorithms=algorithms,
        name=name,
        key=key,
        algorithm=algorithm,
        iteration=ranges.iteration_of(innermost),
        launch_ns=launch_ns,
        start_ns=kernels["start"],
        duration_ns=kernels["end"] - kernels["start"],
        grid=_triples(kernels, "grid"),
        block=_triples(kernels, "block"),
        registers=_small(kernels["registersPerThread"]),
        shared_memory_bytes=_small(kernels["staticSharedMemory"]) + _small(kernels["dynamicSharedMemory"]),
        device=_small(kernels["deviceId"]),
        stream=_small(kernels["streamId"]),
        process=np.unique(kernels["globalPid"], return_inverse=True)[1].astype(np.int32),
        notes=tuple(ranges.notes),
    )


_RECORD_KERNELS = "record with: nsys profile --trace=cuda,nvtx --cuda-graph-trace=node"


def _check(export: Export) -> None:
    if not export.has(STRINGS) and not export.has(KERNELS) and not export.has("META_DATA_EXPORT"):
        raise TracediffError(
            f"{export.path} is an SQLite database, but no nsys export",
            "make one with: nsys export --type sqlite report.nsys-rep",
        )
    if not export.has(KERNELS):
        raise TracediffError(f"{export.path} holds no CUDA kernels", _RECORD_KERNELS)
    if not export.has(STRINGS, "id", "value"):
        raise TracediffError(f"{export.path} has no strings (StringIds), so no kernel names", "export it again, whole")
    if not export.has(KERNELS, "start", "end", "correlationId", "demangledName"):
        raise TracediffError(f"{export.path} has kernels in a form of no known nsys version", "export with nsys ≥ 2022")
    if not export.has(RUNTIME, "start", "correlationId", "globalTid"):
        raise TracediffError(f"{export.path} has no CUDA API calls, so kernels have no launch", _RECORD_KERNELS)


def _launches(export: Export, kernels: dict[str, Int64]) -> tuple[Int64, Int64]:
    """Return thread and start of each kernel's launch call; NULL where the trace has none."""
    calls = export.integers(RUNTIME, ("start", "correlationId", "globalTid"), "correlationId IS NOT NULL")
    call_process, call_id = calls["globalTid"] & ~_THREAD_BITS, calls["correlationId"]
    process, correlation = kernels["globalPid"], kernels["correlationId"]
    if (process == NULL).all():  # a version without globalPid: correlation ids alone, as it had one process
        call_process, process = np.zeros_like(call_process), np.zeros_like(process)
    order = np.lexsort((call_id, call_process))
    processes = np.unique(np.concatenate([call_process, process]))
    thread, start = np.full(len(process), NULL), np.full(len(process), NULL)
    for each in processes.tolist():
        mine = order[np.searchsorted(call_process[order], each) : np.searchsorted(call_process[order], each, "right")]
        wanted = np.flatnonzero(process == each)
        if not len(mine) or not len(wanted):
            continue
        place = np.minimum(np.searchsorted(call_id[mine], correlation[wanted]), len(mine) - 1)
        hit = call_id[mine[place]] == correlation[wanted]
        thread[wanted[hit]] = calls["globalTid"][mine[place[hit]]]
        start[wanted[hit]] = calls["start"][mine[place[hit]]]
    return thread, start


def _names(export: Export, ids: Int64) -> tuple[tuple[str, ...], Int32]:
    distinct, codes = np.unique(ids, return_inverse=True)
    texts = export.strings(distinct)
    return tuple(texts), codes.astype(np.int32)


def _keys(ranges: Ranges, innermost: Int64) -> tuple[tuple[RangeKey, ...], Int32]:
    """Return the distinct keys in order of first launch, and each kernel's."""
    code = ranges.key_code_of(innermost)
    distinct, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    rank = np.empty(len(distinct), dtype=np.int32)
    by_launch = np.argsort(first)
    rank[by_launch] = np.arange(len(distinct), dtype=np.int32)
    return tuple(ranges.key(int(distinct[index])) for index in by_launch), rank[inverse]


def _algorithms(
    export: Export,
    ranges: Ranges,
    thread: Int64,
    launch_ns: Int64,
    innermost: Int64,
    is_gemm: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> tuple[tuple[str, ...], Int32]:
    """Give each line of cuBLASLt's log to the first GEMM launched after it on its thread, inside the same range."""
    marks = read_marks(export, is_algorithm_log)
    result = np.full(len(launch_ns), -1, dtype=np.int32)
    if not len(marks.time):
        return (), result
    around = ranges.innermost(marks.thread, marks.time)
    gemms = np.flatnonzero(is_gemm & (thread != NULL))
    for each in np.unique(marks.thread).tolist():
        mine = np.flatnonzero(marks.thread == each)
        mine = mine[np.argsort(marks.time[mine], kind="stable")]
        launched = gemms[thread[gemms] == each]
        if not len(launched):
            continue
        last = np.searchsorted(marks.time[mine], launch_ns[launched], side="right") - 1
        first_after = np.r_[True, last[1:] != last[:-1]] & (last >= 0)
        launched, mark = launched[first_after], mine[last[first_after]]
        same = around[mark] == innermost[launched]
        result[launched[same]] = marks.text[mark[same]]
    used, codes = np.unique(result, return_inverse=True)
    texts = tuple(marks.texts[code] for code in used if code >= 0)
    return texts, (codes - int(used[0] == -1)).astype(np.int32)


def _small(values: Int64) -> Int32:
    """Narrow a column; NULL and what no GPU has become 0 and the nearest 32-bit number."""
    limits = np.iinfo(np.int32)
    return np.where(values == NULL, 0, np.clip(values, limits.min, limits.max)).astype(np.int32)


def _triples(kernels: dict[str, Int64], prefix: str) -> Int32:
    return np.stack([_small(kernels[f"{prefix}{axis}"]) for axis in "XYZ"], axis=1)
