"""Give kernels to ranges: the phase and module each was launched, or captured, for."""

from __future__ import annotations

import re

import numpy as np
from msgspec import Struct

from tracediff.trace.columns import NULL, Codes, count_codes
from tracediff.trace.graphs import Capture
from tracediff.trace.launches import THREAD_BITS
from tracediff.trace.naming import is_operator
from tracediff.trace.nvtx import Ranges
from tracediff.trace.ranges import NONE, key_of, last_of_chain, occurrences
from tracediff.trace.table import Int32, Int64, RangeKey

#: Threads whose ranges are looked at for a launch on another one.
_MOST_THREADS = 64


class Attribution(Struct, frozen=True, kw_only=True):
    """What each kernel was launched for.

    Attributes:
        innermost: Index of the innermost range around the launch, -1 for none.
        key: Code of each kernel's key in `keys`.
        keys: Distinct keys.
        iteration: Which occurrence of its phase, -1 outside every range.
        shape: Of the step it belongs to, as recorded, `NULL` for none; empty where the trace says no shapes.
        captured: Kernels whose module is that of their graph's capture.
        from_other_threads: Kernels whose range was open on another thread than the launching one.
        several_threads: Kernels left outside because several other threads had a range open.
    """

    innermost: Int64
    key: Int32
    keys: tuple[RangeKey, ...]
    iteration: Int32
    shape: Int64
    captured: int
    from_other_threads: int
    several_threads: int


def attribute(
    ranges: Ranges,
    thread: Int32,
    threads: list[int],
    launch: Int64,
    capture: Capture,
    layer: re.Pattern[str] | None = None,
) -> Attribution:
    """Attribute kernels.

    Args:
        ranges: The trace's ranges.
        thread: Code of the thread that launched each kernel, -1 for none.
        threads: globalTid of each code.
        launch: Start of the launch call in ns, `NULL` for none.
        capture: Where kernels of graphs were captured.
        layer: The user's pattern for layers.
    """
    innermost = ranges.innermost(thread, threads, launch)
    from_other_threads, several_threads = _look_beyond_the_thread(ranges, thread, threads, launch, innermost)
    width = len(ranges.texts) + 1
    outside = np.int64(width * width)
    itself = np.arange(len(ranges.phase))
    text = _texts_of_modules(ranges)
    # The text of a phase is not a module: kernels directly under it have none, written as the code after the last text.
    module = np.where(ranges.phase == itself, width - 1, text)
    phase_text = ranges.text[ranges.phase].astype(np.int64) if len(itself) else itself
    distinct = Codes()
    distinct.of(np.array([outside]))
    of_range = distinct.of(phase_text * width + module)
    key = np.append(of_range, np.int32(0))[innermost]
    shape_of_range = _shapes(ranges)
    shape = shape_of_range[innermost] if len(shape_of_range) else shape_of_range

    in_graph = capture.kernel
    around = innermost
    if len(in_graph):
        codes = Codes()
        inside = ranges.innermost(codes.of(capture.thread), codes.values, capture.moment)
        in_graph, inside = in_graph[inside != NONE], inside[inside != NONE]
        replayed = innermost[in_graph]
        # The replay says which phase this is, the capture which module; without the one, the other says both.
        around = innermost.copy()
        around[in_graph] = np.where(replayed == NONE, inside, replayed)
        name = np.where(replayed == NONE, module[inside], text[inside])
        key[in_graph] = distinct.of(phase_text[around[in_graph]] * width + name)
        if len(shape):
            captured = shape_of_range[inside]
            shape[in_graph] = np.where(captured == NULL, shape_of_range[around[in_graph]], captured)
    executed = around
    if len(in_graph):
        executed = around.copy()
        executed[in_graph[replayed == NONE]] = NONE
    launches = np.zeros(len(itself), dtype=np.bool_)
    launches[ranges.phase[executed[executed != NONE]]] = True
    counted = np.append(occurrences(ranges.phase, ranges.name, ranges.start, launches), NONE).astype(np.int32)
    iteration = counted[executed]
    if len(in_graph):
        by_itself = in_graph[replayed == NONE]
        _count_replays(iteration, by_itself, np.append(phase_text, NONE)[around], launch)
    names = (*ranges.texts, None)
    keys = tuple(
        key_of(None, None) if code == outside else key_of(names[code // width], names[code % width], layer)
        for code in distinct.values
    )
    return Attribution(
        innermost=innermost,
        key=key,
        keys=keys,
        iteration=iteration,
        shape=shape,
        captured=len(in_graph),
        from_other_threads=from_other_threads,
        several_threads=several_threads,
    )


def _texts_of_modules(ranges: Ranges) -> Int32:
    """Return the text that names each range's module: that of the range around it where it is only an operator's."""
    operator = np.zeros(len(ranges.texts) + 1, dtype=np.bool_)
    for code in np.flatnonzero(count_codes(ranges.text, len(ranges.texts))).tolist():
        operator[code] = is_operator(ranges.texts[code])
    is_inner = operator[ranges.text] & (ranges.parent != NONE)
    if not is_inner.any():
        return ranges.text
    itself = np.arange(len(ranges.text))
    around = last_of_chain(np.where(is_inner, ranges.parent, itself))
    is_module = ~operator[ranges.text[around]] & (around != ranges.phase)
    return ranges.text[np.where(is_module, around, itself)]


def _look_beyond_the_thread(
    ranges: Ranges, thread: Int32, threads: list[int], launch: Int64, innermost: Int64
) -> tuple[int, int]:
    """Fill in ranges that are open on no thread, or on the one other thread that has any open.

    A start/end range that ends on another thread belongs to the whole process. And a thread that has no range open at
    the moment (autograd's, a stream's worker) works for the one that has, as long as that is a single one. A thread
    that launches kernels itself comes before those that never do: it computes, they load data or wait.

    Returns:
        How many kernels were given to ranges so, and for how many several threads had one open.
    """
    left = np.flatnonzero((innermost == NONE) & (thread >= 0))
    if not len(left) or not ranges.lanes:
        return 0, 0
    launching = {threads[code] for code in np.flatnonzero(count_codes(thread[thread >= 0], len(threads))).tolist()}
    several = 0
    for code in np.flatnonzero(count_codes(thread[left], len(threads))).tolist():
        tid = threads[code]
        process = tid & ~int(THREAD_BITS)
        mine = left[thread[left] == code]
        innermost[mine] = ranges.open_in(process, launch[mine])
        mine = mine[innermost[mine] == NONE]
        others = [lane for lane in ranges.lanes if lane & ~int(THREAD_BITS) == process and lane not in (process, tid)]
        for lanes in (launching.intersection(others), set(others) - launching):
            if lanes and len(mine):
                found = np.stack([ranges.open_in(lane, launch[mine]) for lane in sorted(lanes)[:_MOST_THREADS]])
                count = (found != NONE).sum(axis=0)
                innermost[mine] = np.where(count == 1, found.max(axis=0), NONE)
                several += int((count > 1).sum())
                mine = mine[count == 0]
    return int((innermost[left] != NONE).sum()), several


def _shapes(ranges: Ranges) -> Int64:
    """Return the shape of the step around each range, and `NULL` behind the last, for no range; empty without any.

    A program has other root modules too (a sampler, a small model that drafts): the one that takes longest steps.
    """
    steps = np.flatnonzero(ranges.shape != NULL)
    if not len(steps):
        return np.zeros(0, dtype=np.int64)
    text = ranges.text[steps]
    took = np.zeros(len(ranges.texts), dtype=np.int64)
    np.add.at(took, text, ranges.end[steps] - ranges.start[steps])
    shape = np.where(ranges.text == took.argmax(), ranges.shape, NULL)
    return np.append(shape[ranges.phase], NULL)


def _count_replays(iteration: Int32, replayed: Int64, phase: Int64, launch: Int64) -> None:
    """Make every replay outside all ranges an execution of its own of the phase that was captured.

    Args:
        iteration: Of every kernel; changed in place.
        replayed: Indices of the kernels that such replays ran.
        phase: Of every kernel, -1 for none.
        launch: Of every kernel; one for all kernels of a replay.
    """
    others = np.ones(len(iteration), dtype=np.bool_)
    others[replayed] = False
    for each in np.unique(phase[replayed]).tolist():
        mine = replayed[phase[replayed] == each]
        first = int(iteration[others & (phase == each)].max(initial=-1)) + 1
        iteration[mine] = first + np.unique(launch[mine], return_inverse=True)[1]
