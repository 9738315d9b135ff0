"""What cuBLASLt logged for each product: marks in the trace, given to the kernels launched after them."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from tracediff.trace.algorithm import is_algorithm_log, without_pointers
from tracediff.trace.columns import Codes, Texts, distinct_of
from tracediff.trace.graphs import Capture
from tracediff.trace.nvtx import Events, Marks, Ranges, find_marks
from tracediff.trace.table import Bool, Int32, Int64


class Moments(Struct, frozen=True, kw_only=True):
    """Marks, or launches of kernels: when and where each happened.

    Attributes:
        thread: Code of the thread, -1 for none.
        time: In ns.
        around: The innermost range around it, -1 for none.
    """

    thread: Int32
    time: Int64
    around: Int64


def log_lines(events: Events) -> Marks:
    """Return the marks that are lines of cuBLASLt's log."""
    return find_marks(events, np.array([is_algorithm_log(text) for text in events.texts], dtype=bool))


def logged_algorithms(
    marks: Marks, ranges: Ranges, threads: list[int], launches: Moments, capture: Capture, is_gemm: Bool
) -> tuple[tuple[str, ...], Int32]:
    """Return the distinct lines of cuBLASLt's log, and the index of each kernel's, -1 for none.

    Args:
        marks: The lines, as marks.
        ranges: The trace's ranges.
        threads: The thread of each code.
        launches: Of the kernels, in the order of launch.
        capture: Where the kernels of graphs were captured, by their places in that order.
        is_gemm: Whether each kernel multiplies matrices.
    """
    if not len(marks.time):
        return (), np.broadcast_to(np.int32(-1), len(is_gemm))
    codes = {tid: code for code, tid in enumerate(threads)}
    thread = np.array([codes.get(tid, -2) for tid in marks.thread.tolist()], dtype=np.int32)
    placed = Moments(thread=thread, time=marks.time, around=ranges.innermost(thread, threads, marks.time))
    given = _give_marks(placed, launches, is_gemm)
    if len(capture.kernel):
        given = np.maximum(given, _marks_at_capture(marks, ranges, capture, is_gemm))
    distinct, lines = Codes(), Texts()
    has = np.flatnonzero(given >= 0)
    code = distinct.of(marks.text[given[has]].astype(np.int64))
    line = np.array([lines.code(without_pointers(marks.texts[each])) for each in distinct.values], dtype=np.int32)
    given[has] = line[code] if len(has) else code
    return lines.values, given


def _give_marks(marks: Moments, launches: Moments, is_gemm: Bool) -> Int32:
    """Give each mark to the first GEMM launched after it on its thread, inside the same range.

    Returns:
        The index of each kernel's mark, -1 for none.
    """
    result = np.full(len(launches.thread), -1, dtype=np.int32)
    gemms = np.flatnonzero(is_gemm & (launches.thread >= 0))
    for each in distinct_of(marks.thread.astype(np.int64)).tolist():
        mine = np.flatnonzero(marks.thread == each)
        mine = mine[np.argsort(marks.time[mine], kind="stable")]
        launched = gemms[launches.thread[gemms] == each]
        if not len(launched):
            continue
        last = np.searchsorted(marks.time[mine], launches.time[launched], side="right") - 1
        first_after = np.r_[True, last[1:] != last[:-1]] & (last >= 0)
        launched, mark = launched[first_after], mine[last[first_after]]
        same = marks.around[mark] == launches.around[launched]
        result[launched[same]] = mark[same]
    return result


def _marks_at_capture(marks: Marks, ranges: Ranges, capture: Capture, is_gemm: Bool) -> Int32:
    """Give the marks left while graphs were captured to the GEMMs that were captured, in every replay of them.

    Returns:
        The index of each kernel's mark, -1 for none.
    """
    codes = Codes()
    thread, mark_thread = codes.of(capture.thread), codes.of(marks.thread)
    # Kernels that were captured on one thread at one moment are replays of one node.
    _, first, node = np.unique(np.stack([thread, capture.moment]), axis=1, return_index=True, return_inverse=True)
    around = ranges.innermost(mark_thread, codes.values, marks.time)
    moment = capture.moment[first]
    inside = ranges.innermost(thread[first], codes.values, moment)
    given = _give_marks(
        Moments(thread=mark_thread, time=marks.time, around=around),
        Moments(thread=thread[first], time=moment, around=inside),
        is_gemm[capture.kernel[first]],
    )
    result = np.full(len(is_gemm), -1, dtype=np.int32)
    result[capture.kernel] = given[node.reshape(-1)]
    return result
