"""Put a kernel table together: order of launch, keys, cuBLASLt's log, coverage. The same for every kind of trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from tracediff.errors import TracediffError
from tracediff.kernels import parse
from tracediff.text import count
from tracediff.trace.algorithm import is_algorithm_log, without_pointers
from tracediff.trace.annotations import Separated, separate_annotations
from tracediff.trace.attribution import Attribution, attribute
from tracediff.trace.columns import LONGEST_TIME_NS, NULL, Codes, Texts, count_codes, distinct_of
from tracediff.trace.graphs import Capture
from tracediff.trace.naming import Naming, name_ranges, number_by_place
from tracediff.trace.nvtx import Events, Marks, Ranges, find_marks, find_ranges, named, range_texts
from tracediff.trace.ranges import NONE
from tracediff.trace.steps import shapes_of_steps, shared_by_steps_of_a_shape
from tracediff.trace.table import Coverage, Int32, Int64, KernelTable, RangeKey, TraceInfo
from tracediff.trace.unnamed import Attributed, place_unnamed


class Kernels(Struct, kw_only=True):
    """Kernels in the order of the file.

    Attributes:
        columns: Columns of the kernel table by name, those that every reader has of its own.
        texts: Distinct names; `columns["name"]` holds indices into it.
        thread: Code of the thread that launched each kernel, -1 for none.
        threads: The thread of each code.
        launch: Start of the launch call in ns, `NULL` for none.
    """

    columns: dict[str, npt.NDArray[Any]]
    texts: tuple[str, ...]
    thread: Int32
    threads: list[int]
    launch: Int64


def assemble(
    kernels: Kernels, events: Events, capture: Capture, info: TraceInfo, notes: list[str], naming: Naming
) -> KernelTable:
    """Attribute kernels to ranges and make the kernel table.

    Args:
        kernels: What the trace says of its kernels.
        events: Its ranges and marks.
        capture: Where kernels of CUDA graphs were captured.
        info: Where the trace comes from.
        notes: What its reader had to say.
        naming: What the user says of the ranges.
    """
    columns, thread, launch = kernels.columns, kernels.thread, kernels.launch
    if columns["duration_ns"].sum(dtype=np.float64) > LONGEST_TIME_NS:
        raise TracediffError(f"{info.path}: its kernels last longer than 127 years together", "record it again")
    separated = separate_annotations(events, naming)
    events = separated.events
    names = name_ranges(events.texts, range_texts(events), naming)
    ranges = find_ranges(named(events, names.of_text), names.phases)
    found = attribute(ranges, thread, kernels.threads, launch, capture, names.layer)
    notes = [*notes, *ranges.notes, *separated.notes, *names.notes, *_attribution_notes(found)]
    outside = _why_outside(found, ranges, separated, thread, kernels.threads, launch)
    # From here on a kernel without a launch counts from its own start.
    without_launch = launch == NULL
    launch_ns = launch
    np.copyto(launch_ns, columns["start_ns"], where=without_launch)
    order = _launch_order(launch_ns, capture, columns["start_ns"])
    innermost, key, iteration = found.innermost, found.key, found.iteration
    if order is not None:
        for name in columns:  # one after the other: a single column is held twice
            columns[name] = columns[name][order]
        thread, launch_ns, without_launch = thread[order], launch_ns[order], without_launch[order]
        innermost, key, iteration = innermost[order], key[order], iteration[order]
    step_shape = found.shape if order is None or not len(found.shape) else found.shape[order]

    parsed = tuple(parse(text) for text in kernels.texts)
    by_ranges = Attributed(keys=found.keys, key=key, iteration=iteration)
    placed = place_unnamed(by_ranges, parsed, columns, launch_ns, thread)
    notes += placed.notes
    keys, key = _in_order_of_launch(placed.keys, placed.key)
    keys, key = _distinct(number_by_place(keys), key)
    is_gemm = np.array([each.role == "gemm" for each in parsed], dtype=bool)
    wanted = np.array([is_algorithm_log(text) for text in events.texts], dtype=bool)
    marks = find_marks(events, wanted)
    algorithms: tuple[str, ...] = ()
    algorithm = np.full(len(key), -1, dtype=np.int32)
    if len(marks.time):
        codes = {tid: code for code, tid in enumerate(kernels.threads)}
        mark_thread = np.array([codes.get(tid, -2) for tid in marks.thread.tolist()], dtype=np.int32)
        around = ranges.innermost(mark_thread, kernels.threads, marks.time)
        given = _give_marks((mark_thread, marks.time, around), (thread, launch_ns, innermost), is_gemm[columns["name"]])
        if len(capture.kernel):
            kernel = capture.kernel if order is None else np.argsort(order)[capture.kernel]
            given = np.maximum(given, _marks_at_capture(marks, ranges, capture, kernel, is_gemm[columns["name"]]))
        distinct, lines = Codes(), Texts()
        has = np.flatnonzero(given >= 0)
        code = distinct.of(marks.text[given[has]].astype(np.int64))
        line = np.array([lines.code(without_pointers(marks.texts[each])) for each in distinct.values], dtype=np.int32)
        algorithm[has] = line[code] if len(has) else code
        algorithms = lines.values
    shapes, shape = shapes_of_steps(step_shape, columns["process"])
    if shapes and algorithms:
        algorithm = shared_by_steps_of_a_shape(algorithm, np.flatnonzero(is_gemm[columns["name"]]), shape, key, columns)
    return KernelTable(
        info=info,
        coverage=replace(_coverage(keys, key, without_launch, found), by_repetition=placed.placed, **outside),
        names=kernels.texts,
        parsed=parsed,
        keys=keys,
        algorithms=algorithms,
        key=key,
        algorithm=algorithm,
        iteration=placed.iteration,
        launch_ns=launch_ns,
        shapes=shapes,
        shape=shape,
        notes=tuple(notes),
        **columns,
    )


def _why_outside(
    found: Attribution, ranges: Ranges, separated: Separated, thread: Int32, threads: list[int], launch: Int64
) -> dict[str, int]:
    """Count kernels outside every range by what would give them to one."""
    left = np.flatnonzero((found.innermost == NONE) & (launch != NULL))
    counts = {"several_threads": found.several_threads, "in_library_ranges": 0, "before_ranges": 0}
    if len(left) and len(ranges.start):
        counts["before_ranges"] = int((launch[left] < ranges.start.min()).sum())
    if len(left) and len(separated.libraries.start):
        around = find_ranges(separated.libraries).innermost(thread[left], threads, launch[left])
        counts["in_library_ranges"] = int((around != NONE).sum())
    return counts


def _attribution_notes(found: Attribution) -> list[str]:
    notes = []
    if found.captured:
        notes.append(f"{count(found.captured, 'kernel')} of replayed CUDA graphs given to the modules of their capture")
    if found.from_other_threads:
        notes.append(f"{count(found.from_other_threads, 'kernel')} given to ranges open on another thread")
    return notes


def _launch_order(launch_ns: Int64, capture: Capture, start: Int64) -> Int64 | None:
    """Return the order of launch, None where the rows have it already.

    All kernels of a graph share one launch; they are put in the order of capture, whatever order they ran in.
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


def _distinct(keys: tuple[RangeKey, ...], key: Int32) -> tuple[tuple[RangeKey, ...], Int32]:
    """Return each key once, and each kernel's: a module without a name is its phase, and two may be named alike."""
    if len(set(keys)) == len(keys):
        return keys, key
    places: dict[RangeKey, int] = {}
    place = np.array([places.setdefault(each, len(places)) for each in keys], dtype=np.int32)
    return tuple(places), place[key]


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
    for each in distinct_of(mark_thread.astype(np.int64)).tolist():
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


def _marks_at_capture(
    marks: Marks, ranges: Ranges, capture: Capture, kernel: Int64, is_gemm: npt.NDArray[np.bool_]
) -> Int64:
    """Give the marks left while graphs were captured to the GEMMs that were captured, in every replay of them.

    Args:
        marks: The log's.
        ranges: The trace's.
        capture: Where the kernels of graphs were captured.
        kernel: Place of each of these kernels in the order of launch.
        is_gemm: Whether each kernel of the trace multiplies matrices.

    Returns:
        The index of each kernel's mark, -1 for none.
    """
    codes = Codes()
    thread, mark_thread = codes.of(capture.thread), codes.of(marks.thread)
    # Kernels that were captured on one thread at one moment are replays of one node.
    _, first, node = np.unique(np.stack([thread, capture.moment]), axis=1, return_index=True, return_inverse=True)
    around = ranges.innermost(mark_thread, codes.values, marks.time)
    inside = ranges.innermost(thread[first], codes.values, capture.moment[first])
    nodes = (thread[first], capture.moment[first], inside)
    given = _give_marks((mark_thread, marks.time, around), nodes, is_gemm[kernel[first]])
    result = np.full(len(is_gemm), -1, dtype=np.int64)
    result[kernel] = given[node.reshape(-1)]
    return result


def _coverage(
    keys: tuple[RangeKey, ...], key: Int32, without_launch: npt.NDArray[np.bool_], found: Attribution
) -> Coverage:
    kernels = count_codes(key, len(keys)).tolist()
    outside = next((code for code, each in enumerate(keys) if each.phase is None), len(keys))
    no_launch = int(((key == outside) & without_launch).sum())
    in_module = sum(number for each, number in zip(keys, kernels, strict=True) if each.module)
    in_phase = sum(number for each, number in zip(keys, kernels, strict=True) if each.phase is not None) - in_module
    return Coverage(
        kernels=len(key),
        in_module=in_module,
        in_phase_only=in_phase,
        outside_ranges=len(key) - in_module - in_phase - no_launch,
        no_launch=no_launch,
        captured=found.captured,
        from_other_threads=found.from_other_threads,
    )


_INT32 = np.iinfo(np.int32)


def narrow(values: Int64) -> Int32:
    """Return a column as 32-bit numbers: NULL as 0, and what is beyond them as the nearest one."""
    if len(values) and _INT32.min <= values.min() and values.max() <= _INT32.max:
        return values.astype(np.int32)
    return np.where(values == NULL, 0, np.clip(values, _INT32.min, _INT32.max)).astype(np.int32)


def count_beyond_32_bits(values: Int64) -> int:
    """Count the numbers that `narrow` changes, NULL aside."""
    if not len(values) or (_INT32.min <= values.min() and values.max() <= _INT32.max):
        return 0
    return int(((values > _INT32.max) | ((values < _INT32.min) & (values != NULL))).sum())
