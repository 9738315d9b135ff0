"""Nested ranges: which one was innermost at a moment, and to which phase and module it belongs.

Ranges pushed and popped on one thread nest. Sorted by their starts, the depth of each is the number of ranges that
began before it less those that ended, so parents follow from one sort and one search; nothing joins intervals with
intervals, and the cost stays linear in ranges and kernels whatever the depth. Ranges that cross (two clocks, start/end
ranges) are walked with a stack instead.

A range covers the moments from its start up to, not including, its end.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracediff.trace.columns import count_up_to, distinct_of
from tracediff.trace.table import Int64, RangeKey

#: Phases in tracediff's own captures; there, a range `run` is around them.
OWN_PHASE = re.compile(r"prefill|decode\[\d+\]")
_BLOCK = re.compile(
    r"(?:^|[./])(?:layers?|blocks?|h)[.\[/](\d{1,9})(?:[.\]/]|$)"
    r"|(?:^|\.)\w*(?:Layer|Block)\[(\d{1,9})\]"
)

NONE = -1

#: About how many ranges of a thread are nested at once, and at how many moments one is looked for at once.
_AT_ONCE = 1 << 16


class Nesting(Struct, frozen=True, kw_only=True):
    """The ranges of one thread, and which was innermost when.

    Attributes:
        parent: Index of the range around each range, -1 for none.
        starts, ends: Each in ascending order.
        innermost_after: Innermost range after so many starts and ends, these merged in order of time; -1 for none.
    """

    parent: Int64
    starts: Int64
    ends: Int64
    innermost_after: Int64

    def innermost(self, moment: Int64) -> Int64:
        """Return for each moment the index of the innermost range open then, -1 for none."""
        found = np.empty(len(moment), dtype=np.int64)
        for first in range(0, len(moment), _AT_ONCE):
            part = moment[first : first + _AT_ONCE]
            passed = np.zeros(len(part), dtype=np.int64)
            # Moments mostly follow the clock, so of all starts and ends only a short stretch is near some of them.
            for bounds in (self.starts, self.ends):
                before, until = np.searchsorted(bounds, (part.min(), part.max()), side="right").tolist()
                passed += before + count_up_to(bounds[before:until], part)
            found[first : first + _AT_ONCE] = self.innermost_after[passed]
        return found


def nest(start: Int64, end: Int64) -> Nesting:
    """Nest the ranges of one thread.

    Args:
        start: Starts in ns, ascending; of equal starts the longer range first.
        end: Ends in ns, same order, each after its start.
    """
    count = len(start)
    parent, ends, after = (np.empty(size, dtype=np.int64) for size in (count, count, 2 * count + 1))
    after[0] = NONE
    for first, past in pairwise(_stretches(start, end)):
        part = _nest_together(start[first:past], end[first:past])
        ends[first:past] = part.ends
        parent[first:past], after[2 * first + 1 : 2 * past + 1] = part.parent, part.innermost_after[1:]
        for index in (parent[first:past], after[2 * first + 1 : 2 * past + 1]):
            np.add(index, first, out=index, where=index != NONE)
    return Nesting(parent=parent, starts=start, ends=ends, innermost_after=after)


def _stretches(start: Int64, end: Int64) -> list[int]:
    """Return where ranges, as `nest` takes them, are cut so that none is open across a cut; 0 and their number too."""
    if len(start) <= _AT_ONCE:
        return [0, len(start)]
    return _cuts(np.flatnonzero(start[1:] >= np.maximum.accumulate(end[:-1])) + 1, len(start))


def _cuts(places: Int64, count: int) -> list[int]:
    """Return some of the places where ranges may be cut, for parts of about `_AT_ONCE`; 0 and `count` too.

    What is computed on the way takes a dozen times the room of the ranges at hand.
    """
    wanted = np.searchsorted(places, np.arange(_AT_ONCE, count, _AT_ONCE))
    return [0, *distinct_of(places[wanted[wanted < len(places)]]).tolist(), count]


def _nest_together(start: Int64, end: Int64) -> Nesting:
    count = len(start)
    index = np.arange(count)
    # Of ranges that end together the inner one, which began later, ends first.
    by_end = count - 1 - np.argsort(end[::-1], kind="stable")
    ends = end[by_end]
    passed = np.searchsorted(ends, start, side="right")
    begun = 1 + index + passed
    ended = 1 + index + np.searchsorted(start, ends, side="left")
    parent = _parents_by_depth(index, index - passed)
    inside = parent != NONE
    after = np.empty(2 * count + 1, dtype=np.int64)
    after[0] = NONE
    if (end[inside] <= end[parent[inside]]).all():
        after[begun] = index
        after[ended] = parent[by_end]
        return Nesting(parent=parent, starts=start, ends=ends, innermost_after=after)
    after[begun] = index
    after[ended] = ~by_end
    return Nesting(parent=_walk(after[1:], count), starts=start, ends=ends, innermost_after=after)


def _parents_by_depth(index: Int64, depth: Int64) -> Int64:
    """Return for each range the last one before it that is one level shallower; -1 at depth 0."""
    count = len(index)
    parent = np.full(count, NONE, dtype=np.int64)
    inside = np.flatnonzero(depth > 0)
    if len(inside):
        by_depth = np.argsort(depth, kind="stable")
        place = depth[by_depth] * count + by_depth
        above = (depth[inside] - 1) * count
        found = np.searchsorted(place, above + inside) - 1
        parent[inside] = np.maximum(place[found] - above, NONE)
    return parent


def _walk(events: Int64, count: int) -> Int64:
    """Return parents of ranges that cross, and overwrite the events with the innermost range after each.

    Args:
        events: Starts (index of the range) and ends (its complement) in order of time.
        count: Number of ranges.
    """
    parent = np.full(count, NONE, dtype=np.int64)
    is_open = [True] * count
    stack: list[int] = []
    for place, event in enumerate(events.tolist()):
        if event >= 0:
            if stack:
                parent[event] = stack[-1]
            stack.append(event)
        else:
            is_open[~event] = False
            while stack and not is_open[stack[-1]]:
                stack.pop()
        events[place] = stack[-1] if stack else NONE
    return parent


def phases(parent: Int64, is_own_phase: npt.NDArray[np.bool_]) -> Int64:
    """Return for each range the index of its phase: the outermost range around it, itself included.

    Where a range around it is one of tracediff's own phases, that one is the phase, though `run` is around it.

    Args:
        parent: Index of the range around each range, which began before it; -1 for none.
        is_own_phase: Whether each range is one of tracediff's own phases.
    """
    phase = np.empty(len(parent), dtype=np.int64)
    for first, past in pairwise(_cuts(np.flatnonzero(parent == NONE), len(parent))):
        above = parent[first:past]
        above = np.where(above == NONE, NONE, above - first)
        phase[first:past] = first + _phases_together(above, is_own_phase[first:past])
    return phase


def _phases_together(parent: Int64, is_own_phase: npt.NDArray[np.bool_]) -> Int64:
    count = len(parent)
    itself = np.arange(count + 1)
    above = np.append(np.where(parent == NONE, itself[:-1], parent), count)
    outermost = last_of_chain(above)
    own = np.append(is_own_phase, True)  # behind the last range: the end of a chain without an own phase
    nearest = last_of_chain(np.where(own, itself, np.append(np.where(parent == NONE, count, parent), count)))
    own_above = np.where(own[:-1] & (parent != NONE), nearest[parent], itself[:-1])
    own_above = np.where(own_above == count, itself[:-1], own_above)
    phase = last_of_chain(np.append(own_above, count))[nearest]
    return np.where(phase == count, outermost, phase)[:-1]


def last_of_chain(step: Int64) -> Int64:
    """Follow `step` from every index to where it leads to itself, in as many rounds as the longest chain has bits."""
    for _ in range(max(len(step).bit_length(), 1)):
        further = step[step]
        if (further == step).all():
            break
        step = further
    return step


@lru_cache(maxsize=1 << 14)  # the two traces of a diff have the same modules
def layer_of(module: str) -> int | None:
    """Return the block index in a module path (`model.layers.5.mlp`, `Model.Block[5].Mlp` → 5), None outside blocks."""
    place = block_number(module)
    return None if place is None else int(module[slice(*place)])


def block_number(module: str) -> tuple[int, int] | None:
    """Return where in a module's path its block's index begins and ends, None outside blocks."""
    found = _BLOCK.search(module)
    return None if found is None else found.span(found.lastindex or 0)


def in_layer(module: str, caller: str) -> str:
    """Return a module's path in the block of its caller: modules that blocks share are named by the first one's path.

    `model.layers.0.self_attn.rotary_emb`, called by `model.layers.7.self_attn`, is that of layer 7.
    """
    own, around = block_number(module), block_number(caller)
    if own is None or around is None or module[: own[0]] != caller[: around[0]]:
        return module
    return module[: own[0]] + caller[slice(*around)] + module[own[1] :]


def key_of(phase: str | None, module: str | None, layer: re.Pattern[str] | None = None) -> RangeKey:
    """Make the key of a range whose phase and innermost range have these texts (equal or None: directly under it).

    Args:
        phase, module: The texts.
        layer: A pattern whose first group is a module's layer, in place of the usual ones.
    """
    name = module or ""
    if layer is None:
        return RangeKey(phase=phase, module=name, layer=layer_of(name))
    found = layer.search(name)
    number = (found.group(1) or "") if found is not None else ""
    return RangeKey(phase=phase, module=name, layer=int(number[:9]) if number.isdecimal() else None)


def occurrences(phase: Int64, name: Int64, start: Int64, launches: npt.NDArray[np.bool_]) -> Int64:
    """Return for each range the iteration it belongs to: how many phases of its phase's name came before its phase.

    A range that launches nothing is not counted (vLLM pushes one for a module's inputs and one for its outputs).

    Args:
        phase: As `phases` returns it.
        name: A number per (process, text) of each range: ranks count for themselves, and an iteration belongs to the
            one thread that ran it.
        start: Starts in ns.
        launches: Whether kernels are launched in each range that is a phase.
    """
    result = np.full(len(phase), NONE, dtype=np.int64)
    instances = np.flatnonzero((phase == np.arange(len(phase))) & launches)
    order = instances[np.lexsort((start[instances], name[instances]))]
    codes = name[order]
    first = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(order) else np.zeros(0, dtype=np.int64)
    count = np.diff(np.r_[first, len(order)])
    result[order] = np.arange(len(order)) - np.repeat(first, count)
    return result[phase]
