"""Blocks without ranges: the layers of a model launch the same kernels one after the other, so their kernels repeat.

1. *Periods*: how far back the same few kernels were launched last. In a run of equal blocks that is one block, nearly
   everywhere.
2. *Runs*: stretches that repeat with such a period at least three times in a row.
3. *Blocks*: a run begins where its repetition does, unless that is in the middle of a block. A normalisation at the end
   of its blocks that the kernel before the run answers to (fused with the residual sum, it differs in the first block)
   begins a block, and what follows a product up to the residual sum ends one.
4. *Deviating blocks*: what lies between two runs of the same blocks, before the first or after the last, and holds
   mostly the same kernels (another kernel in one layer, dense layers before those with experts).

Every step passes over the sequence a bounded number of times.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tracediff.trace.follow import Block, follow
from tracediff.trace.table import Int64

Bool = npt.NDArray[np.bool_]

#: Kernels that are looked for together.
_GRAM = 4
_SHORTEST, _LONGEST = 2, 4096
#: A block must stand so often in a row.
_REPEATS = 3
#: Periods that are tried, and what of the sequence is looked at to find them.
_CANDIDATES, _LOOKED_AT = 16, 400_000
#: A shorter period is preferred to a longer one (a multiple, a whole forward) that covers little more.
_NEARLY = 0.5
#: Kinds of blocks that are looked for: those of a prefill, of a decode step, of a draft model, …
_ROUNDS = 8
#: Kinds of blocks that cover less than such a part of what the first covers are not looked for.
_NEGLIGIBLE = 50
#: A period of several blocks, of which some deviate regularly, is cut where so much of it repeats.
_MOST_PARTS, _NEARLY_EQUAL = 8, 0.8
#: What a kernel of attention counts, in products.
_ATTENTION = 100
#: How much of a block that lacks something that computes must be kernels of the usual block.
_BROKEN = 0.75


@dataclass(frozen=True, kw_only=True)
class Sequence:
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

    def take(self, kernels: Int64 | slice) -> Sequence:
        """Return some kernels, in that order."""
        return Sequence(
            code=self.code[kernels],
            name=self.name[kernels],
            is_product=self.is_product[kernels],
            is_attention=self.is_attention[kernels],
            adds_parts=self.adds_parts[kernels],
            is_norm=self.is_norm[kernels],
            group=self.group[kernels],
            execution=self.execution[kernels],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Blocks one after the other.

    Attributes:
        starts: Where each block begins.
        end: Where the last one ends.
    """

    starts: tuple[int, ...]
    end: int


def find_runs(sequence: Sequence) -> list[Run]:
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
    return _joined(sequence, sorted(found, key=lambda run: run.starts[0]))


def _runs_of_best_period(sequence: Sequence, free: Bool) -> tuple[list[Run], int]:
    """Return the runs of the period that covers most of what is free, and how much that is."""
    needs_attention = bool(sequence.is_attention[free].sum() >= _REPEATS)
    best: dict[int, list[tuple[int, int]]] = {}
    for period in _candidates(sequence.code, free):
        spans = [span for span in _spans(sequence, free, period) if _computes(sequence, span, period, needs_attention)]
        if spans:
            best[period] = spans
    if not best:
        return [], 0
    weight = _weight(sequence, free)
    covered = {period: sum(int(weight[start:end].sum()) for start, end in spans) for period, spans in best.items()}
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


def _follow_from(sequence: Sequence, free: Bool, spans: list[tuple[int, int]], period: int) -> list[Run]:
    """Return the runs, of free kernels, around stretches that are known to repeat.

    Args:
        sequence: All kernels.
        free: Which of them are in no run yet.
        spans: Where the stretches begin (anywhere in a block) and end, in ascending order.
        period: Kernels of a block.
    """
    walls = _walls(sequence, free, period)
    runs: list[Run] = []
    for begin, end in spans:
        low = runs[-1].end if runs else 0
        start = max(begin, low)
        if end - start < min(end - begin, _REPEATS * period):
            continue
        before, after = np.searchsorted(walls, start, side="right") - 1, np.searchsorted(walls, end)
        run = _run(sequence, free, start, period, (max(low, int(walls[before])), int(walls[after])))
        if len(run.starts) >= _REPEATS:
            runs.append(run)
    return runs


def _alike(sequence: Sequence, free: Bool, run: Run) -> list[tuple[int, int]]:
    """Return where in what is free the usual block of a run stands."""
    blocks = list(pairwise([*run.starts, run.end]))
    usual = Counter(end - start for start, end in blocks).most_common(1)[0][0]
    first = next(start for start, end in blocks if end - start == usual)
    places = np.flatnonzero(free[: len(free) - usual + 1])
    for offset in range(usual):
        places = places[sequence.name[places + offset] == sequence.name[first + offset]]
    return [(place, place + usual) for place in places.tolist()]


def _walls(sequence: Sequence, free: Bool, period: int) -> Int64:
    """Return the places no run crosses: bounds of what is taken, and of graphs and executions of several blocks."""
    walls = [np.array([0, len(free)]), np.flatnonzero(np.diff(free)) + 1]
    for edges in sequence.stretches:
        long = np.flatnonzero(np.diff(edges) >= _REPEATS * period)
        walls += [edges[long], edges[long + 1]]
    return np.unique(np.concatenate(walls))


def _weight(sequence: Sequence, free: Bool) -> Bool:
    """Return which kernels count when periods are compared: what every block has and little else does."""
    if sequence.is_attention[free].any():
        return sequence.is_attention
    return sequence.is_product if sequence.is_product[free].any() else np.ones(len(free), dtype=np.bool_)


def _candidates(code: Int64, free: Bool) -> list[int]:
    """Return the distances at which the same few kernels are launched again most often, the shorter first."""
    head = code[:_LOOKED_AT]
    count = len(head) - _GRAM + 1
    if count < _REPEATS * _SHORTEST:
        return []
    gram = np.zeros(count, dtype=np.uint64)
    for offset in range(_GRAM):
        gram = (gram ^ head[offset : offset + count].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        gram ^= gram >> np.uint64(29)
    where = np.flatnonzero(free[:count])
    order = where[np.argsort(gram[where], kind="stable")]
    distance = np.diff(order)[gram[order[1:]] == gram[order[:-1]]]
    distance = distance[(distance >= _SHORTEST) & (distance <= _LONGEST)]
    counts = np.bincount(distance, minlength=_SHORTEST)
    usual = np.argsort(-counts, kind="stable")[:_CANDIDATES]
    return sorted(int(each) for each in usual if counts[each])


def _spans(sequence: Sequence, free: Bool, period: int) -> list[tuple[int, int]]:
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


def _computes(sequence: Sequence, span: tuple[int, int], period: int, needs_attention: bool) -> bool:
    """Return whether a block of a stretch is more than one kernel again and again, and computes something."""
    block = slice(span[0], span[0] + period)
    code = sequence.code[block]
    if (code == code[0]).all():
        return False
    if needs_attention:
        return bool(sequence.is_attention[block].any())
    return bool(sequence.is_product[block].any()) or not sequence.is_product.any()


def _joined(sequence: Sequence, runs: list[Run]) -> list[Run]:
    """Join runs that follow each other at once (dense layers, then experts) or with one broken block between."""
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


def _is_broken_block(sequence: Sequence, before: Run, end: int) -> bool:
    """Return whether what follows a run up to `end` is as long as its last block and holds mostly the same kernels."""
    length = before.end - before.starts[-1]
    if abs(end - before.end - length) > length // 4:
        return False
    usual = Counter(sequence.name[before.starts[-1] : before.end].tolist())
    there = Counter(sequence.name[before.end : end].tolist())
    return 2 * (usual & there).total() >= _BROKEN * (usual.total() + there.total())


def _run(sequence: Sequence, free: Bool, start: int, period: int, bounds: tuple[int, int]) -> Run:
    """Cut a stretch that repeats, and the deviating blocks around it, into blocks.

    Args:
        sequence: All kernels.
        free: Which of them are in no run yet.
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
    # Kernels of the repetition that have been passed before each kernel, counted from the run's first.
    passed = np.concatenate([before[-1] - before[:0:-1], before[-1] + after])
    length = int(passed[-1])
    shift = _belongs_to_next(sequence, free, begin, begin + len(passed) - 1, len(block))
    shift = shift or -_belongs_to_before(sequence.take(slice(begin, begin + len(block))), length % len(block))
    starts = begin + np.searchsorted(passed + shift, np.arange(0, length + shift + 1, len(block)))
    starts[0] = begin - shift
    return Run(starts=tuple(starts[:-1].tolist()), end=int(starts[-1]))


def _block(sequence: Sequence, start: int, period: int) -> Block:
    """Return the block at a place: part of the period where that nearly repeats itself (every other layer differs)."""
    name = sequence.name[start : start + period]
    for parts in range(min(_MOST_PARTS, period // _SHORTEST), 1, -1):
        if period % parts == 0 and (name == np.roll(name, period // parts)).mean() >= _NEARLY_EQUAL:
            period //= parts
            break
    return Block(name=name[:period], weight=sequence.computing[start : start + period])


def _belongs_to_before(block: Sequence, most: int) -> int:
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


def _belongs_to_next(sequence: Sequence, free: Bool, begin: int, end: int, period: int) -> int:
    """Return how many kernels at the end of a run's blocks belong to the next: a norm, where one precedes the run."""
    last = begin + (end - begin) // period * period
    products = np.flatnonzero(sequence.is_product[last - period : last])
    tail = period - 1 - int(products[-1]) if len(products) else 0
    for length in range(1, min(tail, begin) + 1):
        mine, before = last - length, begin - length
        if not free[before] or sequence.is_norm[mine] != sequence.is_norm[before]:
            return 0
        if sequence.is_norm[mine]:
            return length
    return 0
