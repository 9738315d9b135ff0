"""NVTX ranges: which one was innermost at a moment, and to which phase and module it belongs.

Ranges pushed and popped on one thread nest. A sweep over them in order of their starts, with a stack, gives each one's
parent in linear time; the innermost range at a moment is the last one started, or the nearest of its parents that is
still open. Nothing joins intervals with intervals.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from tracediff.trace.table import Int32, Int64, RangeKey

#: What tracediff's own captures name their phases; in those the phases stand inside an outer `run` range.
OWN_PHASE = re.compile(r"prefill|decode\[\d+\]")
_BLOCK = re.compile(r"(?:^|[./])(?:layers?|blocks?|h)[.\[/](\d{1,9})(?:[.\]/]|$)")

NONE = -1


def parents(start: Int64, end: Int64) -> Int64:
    """Return for each range of one thread the index of the range around it, -1 for none.

    Args:
        start: Starts in ns, ascending; of equal starts the longer range first.
        end: Ends in ns, same order.
    """
    result = np.full(len(start), NONE, dtype=np.int64)
    starts, ends = start.tolist(), end.tolist()
    stack: list[int] = []
    for index, (begin, finish) in enumerate(zip(starts, ends, strict=True)):
        # A range that ends where this one starts has ended; one that ends before this one ends only crosses it.
        while stack and ends[stack[-1]] <= begin and (ends[stack[-1]] < finish or starts[stack[-1]] < begin):
            stack.pop()
        result[index] = stack[-1] if stack else NONE
        stack.append(index)
    return result


def innermost(start: Int64, end: Int64, parent: Int64, moment: Int64) -> Int64:
    """Return for each moment of one thread the innermost range open then, -1 for none.

    Args:
        start, end, parent: The thread's ranges as `parents` takes and returns them.
        moment: Moments in ns, any order.
    """
    found = np.searchsorted(start, moment, side="right") - 1
    if len(start) == 0:
        return found
    while True:
        # Index -1 reads the last range; those moments are already settled.
        ended = (found >= 0) & (end[found] < moment)
        if not ended.any():
            return found
        found[ended] = parent[found[ended]]


def depths(parent: Int64) -> Int64:
    """Return each range's nesting depth, 0 for outermost. Parents stand before their children."""
    result = np.zeros(len(parent), dtype=np.int64)
    chain = parent.copy()
    while True:
        inside = chain >= 0
        if not inside.any():
            return result
        result[inside] += 1
        chain[inside] = parent[chain[inside]]


def phases(parent: Int64, is_own_phase: npt.NDArray[np.bool_]) -> Int64:
    """Return for each range the index of its phase: the outermost range around it, itself included.

    Where a range around it is one of tracediff's own phases, that one is the phase, though `run` is around it.
    """
    result = np.arange(len(parent), dtype=np.int64)
    depth = depths(parent)
    for level in range(1, int(depth.max(initial=0)) + 1):
        here = np.flatnonzero(depth == level)
        above = result[parent[here]]
        result[here] = np.where(is_own_phase[here] & ~is_own_phase[above], here, above)
    return result


def layer_of(module: str) -> int | None:
    """Return the block index in a module path (`model.layers.5.mlp` → 5), None outside the blocks."""
    found = _BLOCK.search(module)
    return int(found.group(1)) if found else None


def key_of(phase: str | None, module: str | None) -> RangeKey:
    """Make the key of a range whose phase and innermost range have these texts (equal or None: directly under it)."""
    name = module or ""
    return RangeKey(phase=phase, module=name, layer=layer_of(name))


def occurrences(phase_range: Int64, name: Int32, start: Int64) -> Int64:
    """Return for each range how often its phase's name had begun before its phase did: its iteration.

    Args:
        phase_range: As `phases` returns it.
        name: Code of each range's text, one code per (process, thread, text) so that ranks do not mix.
        start: Starts in ns.
    """
    result = np.full(len(phase_range), NONE, dtype=np.int64)
    instances = np.unique(phase_range)
    order = instances[np.lexsort((start[instances], name[instances]))]
    codes = name[order]
    first = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(order) else np.zeros(0, dtype=np.int64)
    count = np.diff(np.r_[first, len(order)])
    result[order] = np.arange(len(order)) - np.repeat(first, count)
    return result[phase_range]
