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
from tracediff.trace.table import Bool, Int32, Int64, RangeKey

#: Threads whose ranges are looked at for a launch on another one.
_MOST_THREADS = 64


class Attribution(Struct, frozen=True, kw_only=True):
    """What each kernel was launched for.

    Attributes:
        innermost: Index of the innermost range around the launch, -1 for none.
        key: Code of each kernel's key in `keys`.
        keys: Distinct keys.
        around_captures: Codes of keys whose module is named by nothing but a range around the capture of a whole graph.
        iteration: Which occurrence of its phase, -1 outside every range.
        shape: Of the step it belongs to, as recorded, `NULL` for none; empty where the trace says no shapes.
        captured: Kernels whose module is that of their graph's capture.
        from_other_threads: Kernels whose range was open on another thread than the launching one.
        several_threads: Kernels left outside because several other threads had a range open.
    """

    innermost: Int64
    key: Int32
    keys: tuple[RangeKey, ...]
    around_captures: frozenset[int]
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
    duration: Int64,
    layer: re.Pattern[str] | None = None,
) -> Attribution:
    """Attribute kernels.

    Args:
        ranges: The trace's ranges.
        thread: Code of the thread that launched each kernel, -1 for none.
        threads: globalTid of each code.
        launch: Start of the launch call in ns, `NULL` for none.
        capture: Where kernels of graphs were captured.
        duration: Of each kernel, in ns.
        layer: The user's pattern for layers.
    """
    innermost = ranges.innermost(thread, threads, launch)
    from_other_threads, several_threads = _look_beyond_the_thread(ranges, thread, threads, launch, innermost)
    text = _texts_of_modules(ranges)
    itself = np.arange(len(ranges.phase))
    # The text of a phase is not a module: kernels directly under it have none.
    module = np.where(ranges.phase == itself, len(ranges.texts), text)
    phase = ranges.text[ranges.phase].astype(np.int64) if len(itself) else itself
    keys = _Keys(ranges.texts)
    key = np.append(keys.of(phase, module), np.int32(0))[innermost]
    replays = _replays(ranges, capture, innermost)
    around = executed = innermost
    if len(replays.kernel):
        around = innermost.copy()
        around[replays.kernel] = replays.around
        executed = around.copy()
        executed[replays.outside] = NONE
        # The text of a range that is no phase here names a module; that of a step never does.
        is_phase = (replays.launched_in == NONE) | (ranges.shape[replays.captured_in] != NULL)
        # One around the whole capture is a phase: that of the replay too, or its text is a name for want of a better.
        is_around = (replays.captured_in == ranges.phase[replays.captured_in]) & ~is_phase
        is_same = is_around & (text[replays.captured_in] == phase[replays.around])
        name = np.where(is_phase | is_same, module[replays.captured_in], text[replays.captured_in])
        key[replays.kernel] = keys.of(phase[replays.around], name, is_around & replays.is_whole(launch))
    shapes = _shapes(ranges, around, duration)
    shape = shapes[innermost] if len(shapes) else shapes
    if len(replays.kernel) and len(shape):
        captured = shapes[replays.captured_in]
        shape[replays.kernel] = np.where(captured == NULL, shapes[replays.around], captured)
    iteration = _iterations(ranges, executed)
    if len(replays.kernel):
        _count_replays(iteration, replays.outside, np.append(phase, NONE)[around], launch)
    return Attribution(
        innermost=innermost,
        key=key,
        keys=keys.named(layer),
        around_captures=keys.around_captures(),
        iteration=iteration,
        shape=shape,
        captured=len(replays.kernel),
        from_other_threads=from_other_threads,
        several_threads=several_threads,
    )


class _Keys:
    """Codes of pairs of a phase's text and a module's; 0 is outside every range."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._names = (*texts, None)  # the code after the last text: no module
        self._width = 2 * len(self._names)  # the second half: named by a range around a capture
        self._outside = self._width**2
        self._distinct = Codes()
        self._distinct.of(np.array([self._outside]))

    def of(self, phase: Int64, module: Int64, is_around_capture: Bool | bool = False) -> Int32:
        """Return the code of each pair of texts, given by their codes, and of what is named by a range around all."""
        return self._distinct.of(phase * self._width + module + np.where(is_around_capture, len(self._names), 0))

    def named(self, layer: re.Pattern[str] | None) -> tuple[RangeKey, ...]:
        """Return the key of each code."""
        count = len(self._names)
        return tuple(
            key_of(None, None)
            if pair == self._outside
            else key_of(self._names[pair // self._width], self._names[pair % self._width % count], layer)
            for pair in self._distinct.values
        )

    def around_captures(self) -> frozenset[int]:
        """Return the codes of what is named by a range around a whole capture."""
        return frozenset(
            code
            for code, pair in enumerate(self._distinct.values)
            if pair != self._outside and pair % self._width >= len(self._names)
        )


class _Replays(Struct, frozen=True, kw_only=True):
    """Kernels of CUDA graphs that were captured inside a range.

    Attributes:
        kernel: Their indices.
        captured_in: The innermost range around the capture of each.
        launched_in: The innermost range around its launch, -1 for none, and where that does not count: a step of a
            recorded program is a phase whatever is open around it, so what was captured in one and is replayed in no
            other step is an execution of that step.
    """

    kernel: Int64
    captured_in: Int64
    launched_in: Int64

    @property
    def around(self) -> Int64:
        """The range that says the phase: that of the replay, of the capture where the replay is in none."""
        around: Int64 = np.where(self.launched_in == NONE, self.captured_in, self.launched_in)
        return around

    @property
    def outside(self) -> Int64:
        """Kernels that were replayed outside every range that counts."""
        outside: Int64 = self.kernel[self.launched_in == NONE]
        return outside

    def is_whole(self, launch: Int64) -> Bool:
        """Return which kernels' whole graph was captured in one range, given the launch of every kernel."""
        _, replay = np.unique(launch[self.kernel], return_inverse=True)
        first = np.full(replay.max(initial=0) + 1, len(launch), dtype=np.int64)
        last = np.full_like(first, NONE)
        np.minimum.at(first, replay, self.captured_in)
        np.maximum.at(last, replay, self.captured_in)
        whole: Bool = (first == last)[replay]
        return whole


def _replays(ranges: Ranges, capture: Capture, innermost: Int64) -> _Replays:
    kernel, captured_in = capture.kernel, capture.kernel
    if len(kernel):
        codes = Codes()
        inside = ranges.innermost(codes.of(capture.thread), codes.values, capture.moment)
        kernel, captured_in = kernel[inside != NONE], inside[inside != NONE]
    launched_in = innermost[kernel]
    if len(kernel):
        is_step = np.append(ranges.shape[ranges.phase] != NULL, False)
        launched_in = np.where(is_step[captured_in] & ~is_step[launched_in], NONE, launched_in)
    return _Replays(kernel=kernel, captured_in=captured_in, launched_in=launched_in)


def _iterations(ranges: Ranges, executed: Int64) -> Int32:
    """Return which occurrence of its phase each kernel ran in, -1 for those in no range."""
    count = len(ranges.phase)
    has_kernels = np.zeros(count + 1, dtype=np.bool_)  # the last one stands for none
    has_kernels[executed] = True
    launches = np.zeros(count, dtype=np.bool_)
    launches[ranges.phase[has_kernels[:count]]] = True
    counted = np.append(occurrences(ranges.phase, ranges.name, ranges.start, launches), NONE).astype(np.int32)
    iterations: Int32 = counted[executed]
    return iterations


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


def _shapes(ranges: Ranges, around: Int64, duration: Int64) -> Int64:
    """Return the shape of the step around each range, and `NULL` behind the last, for no range; empty without any.

    A program has other root modules too (a sampler, a small model that drafts): the one that takes the GPU longest
    steps. A server that replays graphs calls its sampler more often than its model.

    Args:
        ranges: The trace's ranges.
        around: The range that says each kernel's phase, -1 for none.
        duration: Of each kernel, in ns.
    """
    steps = np.flatnonzero(ranges.shape != NULL)
    if not len(steps):
        return np.zeros(0, dtype=np.int64)
    count = len(ranges.phase)
    of_range = np.bincount(np.where(around == NONE, count, around), weights=duration, minlength=count + 1)[:count]
    of_phase = np.bincount(ranges.phase, weights=of_range, minlength=count)
    gpu, cpu = (
        np.bincount(ranges.text[steps], weights=ns[steps], minlength=len(ranges.texts))
        for ns in (of_phase, ranges.end - ranges.start)
    )
    longest = np.lexsort((cpu, gpu))[-1]
    shape = np.where(ranges.text == longest, ranges.shape, NULL)
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
