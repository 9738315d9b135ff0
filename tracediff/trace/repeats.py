"""Blocks without ranges: the layers of a model launch the same kernels one after the other, so their kernels repeat.

1. *Periods*: how far back the same few kernels were launched last. In a run of equal blocks that is one block, nearly
   everywhere.
2. *Runs*: stretches that repeat with such a period at least three times in a row.
3. *Deviating blocks*: runs are followed in both directions past kernels that are other, missing or more than usual.
4. *Bounds*: a block begins where the repetition does, unless the kernels say otherwise. A norm begins a block: fused
   with the residual sum of the block before, it is another kernel in the first block, so the repetition begins after
   it. And what follows a product, up to the residual sum, ends a block.

Every step passes over the sequence a bounded number of times.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import pairwise

import numpy as np
from msgspec import Struct

from tracediff.trace.follow import Block, follow, grams
from tracediff.trace.table import Bool, Int64

#: A place is recognised by so many kernels in a row.
_GRAM = 4
_SHORTEST, _LONGEST = 2, 4096
#: A block must run so often in a row.
_REPEATS = 3
#: How many periods are tried, and how many kernels are searched for them.
_CANDIDATES, _LOOKED_AT = 16, 400_000
#: A shorter period is preferred to a longer one (a multiple, a whole forward) that covers little more.
_NEARLY = 0.5
#: How many kinds of blocks are looked for: those of a prefill, of a decode step, of a draft model, …
_ROUNDS = 8
#: The search ends at a kind of block that covers less than this fraction (1/50) of what the first one covers.
_NEGLIGIBLE = 50
#: A period is cut into as many as 8 blocks if 80 % of their kernels are equal: every other layer may differ regularly.
_MOST_PARTS, _NEARLY_EQUAL = 8, 0.8
#: What attention counts, in products, where the computing of two pieces is compared: a block has one.
_ATTENTION = 100
#: So many kernels more than the others may the first block have where it begins.
_MOST_MORE = 4
#: A stretch between two runs is a block that lost a product if so much of it is the usual block's.
_BROKEN = 0.75


class KernelSequence(Struct, frozen=True, kw_only=True, dict=True):
    """Kernels in the order in which one thread launched them.

    Attributes:
        code: Equal for kernels of one name and launch configuration.
        name: Equal for kernels of one name.
        is_product: Whether each multiplies matrices.
        is_attention: Whether each is attention.
        adds_parts: Whether each adds the parts of a split-K product.
        is_norm: Whether each normalises, or reduces rows otherwise.
        group: Number of the CUDA graph launch that each is part of; another one for every other launch.
        execution: Number of the execution of a phase that each is part of; one number for those outside every range.
    """

    code: Int64
    name: Int64
    is_product: Bool
    is_attention: Bool
    adds_parts: Bool
    is_norm: Bool
    group: Int64
    execution: Int64

    @cached_property
    def computing(self) -> Int64:
        """How much each kernel counts where the computing of two pieces is compared."""
        return np.where(self.is_attention, _ATTENTION, 0) + self.is_product

    @cached_property
    def stretches(self) -> tuple[Int64, ...]:
        """Where one CUDA graph's kernels, and one execution's, begin, and the end of the sequence."""
        return tuple(
            np.r_[0, np.flatnonzero(np.diff(each)) + 1, len(each)] if len(each) else np.zeros(1, dtype=np.int64)
            for each in (self.group, self.execution)
        )

    @cached_property
    def sort(self) -> Int64:
        """A number for each kernel's sort: product, the adding of its parts, attention, norm, or any other."""
        sort: Int64 = self.is_product + 2 * self.is_attention + 4 * self.adds_parts + np.int64(8) * self.is_norm
        return sort

    def take(self, kernels: Int64 | slice) -> KernelSequence:
        """Return some kernels, in that order."""
        return KernelSequence(
            code=self.code[kernels],
            name=self.name[kernels],
            is_product=self.is_product[kernels],
            is_attention=self.is_attention[kernels],
            adds_parts=self.adds_parts[kernels],
            is_norm=self.is_norm[kernels],
            group=self.group[kernels],
            execution=self.execution[kernels],
        )


class Run(Struct, frozen=True, kw_only=True):
    """Blocks one after the other.

    Attributes:
        starts: Where each block begins.
        end: Where the last one ends.
    """

    starts: tuple[int, ...]
    end: int


def find_runs(sequence: KernelSequence) -> list[Run]:
    """Find runs of repeated blocks, in order; none where nothing that computes repeats three times in a row."""
    free = np.ones(len(sequence.code), dtype=np.bool_)
    found: list[Run] = []
    least = 0
    for _ in range(_ROUNDS):
        runs, covered = _runs_of_best_period(sequence, free)
        if not runs or covered < max(least, 1):
            break
        least = least or covered // _NEGLIGIBLE
        for run in runs:
            free[run.starts[0] : run.end] = False
        found += runs
    return _joined(sequence, sorted(found, key=lambda run: run.starts))


def _runs_of_best_period(sequence: KernelSequence, free: Bool) -> tuple[list[Run], int]:
    """Return the runs of the period that covers most of what is free, and how much that is."""
    needs_attention = bool(sequence.is_attention[free].sum() >= _REPEATS)
    best: dict[int, list[tuple[int, int]]] = {}
    for period in _candidates(sequence.code, free):
        spans = [span for span in _spans(sequence, free, period) if _computes(sequence, span, period, needs_attention)]
        if spans:
            best[period] = spans
    if not best:
        return [], 0
    counts = _counts(sequence, free)
    covered = {period: sum(int(counts[start:end].sum()) for start, end in spans) for period, spans in best.items()}
    most = max(covered.values())
    period = min(each for each, count in covered.items() if count >= _NEARLY * most)
    runs = _follow_from(sequence, free, best[period], period)
    if runs:
        # Where too many blocks deviate for three equal ones to follow each other, single ones are like those found.
        rest = free.copy()
        for run in runs:
            rest[run.starts[0] : run.end] = False
        runs += _follow_from(sequence, rest, _alike(sequence, rest, max(runs, key=lambda run: len(run.starts))), period)
    return runs, covered[period]


def _follow_from(sequence: KernelSequence, free: Bool, spans: list[tuple[int, int]], period: int) -> list[Run]:
    """Return the runs of free kernels around stretches that are known to repeat.

    Args:
        sequence: All kernels.
        free: Which of them are in no run yet.
        spans: Where the stretches begin (anywhere in a block) and end, in ascending order.
        period: Kernels of a block.
    """
    walls = _walls(sequence, free, period)
    runs: list[Run] = []
    tried = 0
    for begin, end in spans:
        low = runs[-1].end if runs else 0
        start = max(begin, low)
        if begin < tried or end - start < min(end - begin, _REPEATS * period):
            continue
        before, after = np.searchsorted(walls, start, side="right") - 1, np.searchsorted(walls, end)
        run = _run(sequence, start, period, (max(low, int(walls[before])), int(walls[after])))
        if len(run.starts) >= _REPEATS:
            runs.append(run)
        else:
            tried = run.end
    return runs


def _alike(sequence: KernelSequence, free: Bool, run: Run) -> list[tuple[int, int]]:
    """Return where the usual block of a run occurs among the free kernels."""
    blocks = list(pairwise([*run.starts, run.end]))
    usual = Counter(end - start for start, end in blocks).most_common(1)[0][0]
    first = next(start for start, end in blocks if end - start == usual)
    places = np.flatnonzero(free[: len(free) - usual + 1])
    for offset in range(usual):
        same = sequence.name[places + offset] == sequence.name[first + offset]
        places = places[same & free[places + offset]]
    return [(place, place + usual) for place in places.tolist()]


def _walls(sequence: KernelSequence, free: Bool, period: int) -> Int64:
    """Return the places that no run may cross: bounds of other runs, and of graphs and executions of several blocks."""
    walls = [np.array([0, len(free)]), np.flatnonzero(np.diff(free)) + 1]
    for edges in sequence.stretches:
        long = np.flatnonzero(np.diff(edges) >= _REPEATS * period)
        walls += [edges[long], edges[long + 1]]
    return np.unique(np.concatenate(walls))


def _counts(sequence: KernelSequence, free: Bool) -> Bool:
    """Return which kernels count when periods are compared: those that every block has and little else."""
    if sequence.is_attention[free].any():
        return sequence.is_attention
    return sequence.is_product if sequence.is_product[free].any() else np.ones(len(free), dtype=np.bool_)


def _candidates(code: Int64, free: Bool) -> list[int]:
    """Return the distances at which the same few kernels are launched again most often, the shorter first."""
    head = code[:_LOOKED_AT]
    gram = grams(head, _GRAM)
    where = np.flatnonzero(free[: len(gram)])
    order = where[np.argsort(gram[where], kind="stable")]
    distance = np.diff(order)[gram[order[1:]] == gram[order[:-1]]]
    distance = distance[(distance >= _SHORTEST) & (distance <= _LONGEST)]
    counts = np.bincount(distance, minlength=_SHORTEST)
    usual = np.argsort(-counts, kind="stable")[:_CANDIDATES]
    return sorted(int(each) for each in usual if counts[each])


def _spans(sequence: KernelSequence, free: Bool, period: int) -> list[tuple[int, int]]:
    """Return where stretches of free kernels that repeat with this period, often enough, begin and end."""
    code = sequence.code
    same = (code[period:] == code[:-period]) & free[period:] & free[:-period]
    change = np.flatnonzero(np.diff(np.r_[False, same, False]))
    walls = _walls(sequence, free, period)
    spans: list[tuple[int, int]] = []
    for first, last in zip(change[::2].tolist(), change[1::2].tolist(), strict=True):
        # The overlap of two runs is the last block of the one, not the first of the other.
        start, end = max(first, spans[-1][1]) if spans else first, last + period
        if end - start >= _REPEATS * period:
            inside = walls[np.searchsorted(walls, start, side="right") : np.searchsorted(walls, end)].tolist()
            edges = [start, *inside, end]
            spans += [span for span in pairwise(edges) if span[1] - span[0] >= _REPEATS * period]
    return spans


def _computes(sequence: KernelSequence, span: tuple[int, int], period: int, needs_attention: bool) -> bool:
    """Return whether the blocks of a stretch compute something, and are more than one kernel run again and again."""
    block = slice(span[0], span[0] + period)
    code = sequence.code[block]
    if (code == code[0]).all():
        return False
    if needs_attention:
        return bool(sequence.is_attention[block].any())
    return bool(sequence.is_product[block].any()) or not sequence.is_product.any()


def _joined(sequence: KernelSequence, runs: list[Run]) -> list[Run]:
    """Join runs that follow each other directly (dense layers, then experts) or with one broken block between."""
    joined: list[Run] = []
    for run in runs:
        before = joined[-1] if joined else None
        if before is None or _are_steps(sequence.group, before, run) or _are_steps(sequence.execution, before, run):
            joined.append(run)
        elif before.end == run.starts[0]:
            joined[-1] = Run(starts=before.starts + run.starts, end=run.end)
        elif _is_broken_block(sequence, before, run.starts[0]):
            joined[-1] = Run(starts=(*before.starts, before.end, *run.starts), end=run.end)
        else:
            joined.append(run)
    return joined


def _are_steps(part: Int64, before: Run, after: Run) -> bool:
    """Return whether two runs are in two CUDA graphs or executions, one of which holds a whole run: each is a step."""
    if part[before.end - 1] == part[after.starts[0]]:
        return False
    return any(part[run.starts[0]] == part[run.end - 1] for run in (before, after))


def _is_broken_block(sequence: KernelSequence, before: Run, end: int) -> bool:
    """Return whether what follows a run up to `end` is as long as its last block and holds mostly the same kernels."""
    length = before.end - before.starts[-1]
    if abs(end - before.end - length) > length // 4:
        return False
    usual = Counter(sequence.name[before.starts[-1] : before.end].tolist())
    there = Counter(sequence.name[before.end : end].tolist())
    return 2 * (usual & there).total() >= _BROKEN * (usual.total() + there.total())


def _run(sequence: KernelSequence, start: int, period: int, bounds: tuple[int, int]) -> Run:
    """Return the run around a stretch that repeats, cut into blocks.

    Args:
        sequence: All kernels.
        start: Where the stretch begins.
        period: With which period it repeats.
        bounds: Where the run may begin at the earliest, and end at the latest.
    """
    low, high = bounds
    block = _block(sequence, start, period)
    weight = sequence.computing
    before = follow(sequence.name[low:start][::-1], weight[low:start][::-1], block.backwards())
    after = follow(sequence.name[start:high], weight[start:high], block)
    begin = start - (len(before) - 1)
    # How many kernels of the repeated block came before each kernel, counted from the run's first.
    passed = np.concatenate([before[-1] - before[:0:-1], before[-1] + after])
    length = int(passed[-1])
    whole = length // len(block) * len(block)
    last = slice(*(begin + np.searchsorted(passed, [whole - len(block), whole])).tolist())
    shift, earlier = _belongs_to_next(sequence, low, begin, last)
    if not shift:
        shift = earlier = -_belongs_to_before(sequence.take(slice(begin, begin + len(block))), length % len(block))
    starts = begin + np.searchsorted(passed + shift, np.arange(0, length + shift + 1, len(block)))
    starts[0] = begin - earlier
    return Run(starts=tuple(starts[:-1].tolist()), end=int(starts[-1]))


def _block(sequence: KernelSequence, start: int, period: int) -> Block:
    """Return the block at a place: part of the period where that nearly repeats itself (every other layer differs)."""
    name = sequence.name[start : start + period]
    for parts in range(min(_MOST_PARTS, period // _SHORTEST), 1, -1):
        if period % parts == 0 and (name == np.roll(name, period // parts)).mean() >= _NEARLY_EQUAL:
            period //= parts
            break
    return Block(name=name[:period], weight=sequence.computing[start : start + period])


def _belongs_to_before(block: KernelSequence, most: int) -> int:
    """Return how many kernels at the beginning of a run end a block before it: what follows a product up to the sum.

    Kernels before a run that happen to be those that end its blocks (dense layers before others, a sum of embeddings)
    make it begin too early.

    Args:
        block: The run's first kernels.
        most: So many kernels can be given up without giving up a whole block.
    """
    computes = block.is_product | block.adds_parts
    if block.is_norm[0] or not (computes[0] or computes[-1]):
        return 0
    products = int(np.argmin(computes))
    count = products if block.is_norm[products] else products + 1
    return count if count <= most else 0


def _belongs_to_next(sequence: KernelSequence, low: int, begin: int, last: slice) -> tuple[int, int]:
    """Return how many kernels at the end of a run's blocks begin the next one, and how many before the run its first.

    Blocks begin with a norm. The first one may begin with other kernels than the others have there (no sum to fuse with
    its norm, an embedding, code compiled for it alone), so that the repetition only begins after them. They are of the
    same sorts, but for a few more: compiled code makes the rotary angles there.

    Args:
        sequence: All kernels.
        low: Where the run may begin at the earliest.
        begin: Where it begins so far.
        last: Its last block.
    """
    found = (0, 0)
    count = 0
    more = 0 if sequence.is_norm[begin] else _MOST_MORE
    for earlier in range(1, begin - low + 1):
        mine = last.stop - count - 1
        if mine == last.start:
            break
        if sequence.sort[mine] == sequence.sort[begin - earlier]:
            count += 1
            if sequence.is_norm[mine]:
                found = (count, earlier)
        elif found == (0, 0) and more:
            more -= 1
        else:
            break
    return found
