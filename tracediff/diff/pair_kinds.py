"""Which kind of execution in one trace is compared with which in the other.

Two answers are tried, and the one that brings more alike kernels together is taken: by place (the third execution with
the third), which is right where both traces did the same things in the same sequence, and by kind (prefill with
prefill), which is right where they did them in another order or another number of times.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from tracediff.diff.executions import Executed, Numbered
from tracediff.trace.table import Int64

#: How much of the likeness of two kinds each of these says.
_NAMES, _MODULES, _SIZE, _SHARE, _RANK = 0.4, 0.2, 0.1, 0.1, 0.1
#: Kinds of each trace that are looked at: the most common ones. A phase with more never settles.
_MOST_KINDS = 48

#: Distinct numbers in ascending order, and how often each occurs.
_Counted = tuple[Int64, Int64]


class KindPair(Struct, frozen=True, kw_only=True):
    """Executions of one kind in a, compared with executions of one kind in b: their places, in order of the run."""

    a: tuple[int, ...]
    b: tuple[int, ...]


def pair_kinds(runs: tuple[Executed, Executed], traces: tuple[Numbered, Numbered]) -> list[KindPair]:
    """Pair the kinds of execution of one phase, in the order in which they first ran in the first trace.

    Args:
        runs: The executions in both traces.
        traces: The traces.
    """
    a, b = runs
    likeness = _Likeness(_kinds(a, traces[0]), _kinds(b, traces[1]))
    by_kind = list(_by_kind(likeness))
    if len(a.kinds) == len(b.kinds):
        by_place = list(_by_place(a, b, likeness))
        if likeness.gained(by_place, a, b) >= likeness.gained(by_kind, a, b):
            return by_place
    return sorted(by_kind, key=lambda pair: pair.a[0])


class _Kind(Struct, frozen=True, kw_only=True):
    """What a kind of execution runs, and which part of the run it is.

    Attributes:
        places: Where its executions are.
        names, modules: What occurs in one execution, ascending, and how often.
        kernels: Kernels per execution.
        share: Its share of the phase's executions.
        rank: Its place among the phase's kinds by thread blocks launched, from 0 (fewest) to 1: a prefill computes more
            than a decode step, whatever the batch.
    """

    places: tuple[int, ...]
    names: _Counted
    modules: _Counted
    kernels: int
    share: float
    rank: float


def _kinds(side: Executed, trace: Numbered) -> dict[int, _Kind]:
    """Return the most common kinds, in order of appearance; of equally common ones the latest."""
    places = side.places()
    usual = set(sorted(places, key=lambda kind: (len(places[kind]), places[kind][-1]))[-_MOST_KINDS:])
    last = {kind: side.kernels[where[-1]] for kind, where in places.items() if kind in usual}
    work = {kind: int(trace.table.grid[kernels].astype(np.int64).prod(axis=1).sum()) for kind, kernels in last.items()}
    ranks = {value: rank for rank, value in enumerate(sorted(set(work.values())))}
    return {
        kind: _Kind(
            places=tuple(places[kind]),
            names=np.unique(trace.names_of(kernels), return_counts=True),
            modules=np.unique(trace.modules_of(kernels), return_counts=True),
            kernels=len(kernels),
            share=len(places[kind]) / len(side.kinds),
            rank=ranks[work[kind]] / max(len(ranks) - 1, 1),
        )
        for kind, kernels in last.items()
    }


class _Likeness:
    """How alike a kind of a and a kind of b are, from 0 to 1."""

    def __init__(self, a: dict[int, _Kind], b: dict[int, _Kind]) -> None:
        self.a, self.b = a, b
        self._known: dict[tuple[int, int], float] = {}

    def of(self, kind_a: int, kind_b: int) -> float:
        """Return the likeness; 1 for equal kinds, 0 for kinds too rare to be looked at."""
        if kind_a not in self.a or kind_b not in self.b:
            return 0.0
        if (kind_a, kind_b) not in self._known:
            self._known[kind_a, kind_b] = 1.0 if kind_a == kind_b else _likeness(self.a[kind_a], self.b[kind_b])
        return self._known[kind_a, kind_b]

    def gained(self, pairs: list[KindPair], a: Executed, b: Executed) -> float:
        """Return the likeness of all executions that pairs bring together."""
        return sum(min(len(pair.a), len(pair.b)) * self.of(a.kinds[pair.a[0]], b.kinds[pair.b[0]]) for pair in pairs)


def _likeness(a: _Kind, b: _Kind) -> float:
    """Return the likeness of two kinds that differ: below 1."""
    return (
        _NAMES * _overlap(a.names, b.names)
        + _MODULES * _overlap(a.modules, b.modules)
        + _SIZE * min(a.kernels, b.kernels) / max(a.kernels, b.kernels)
        + _SHARE * (1 - abs(a.share - b.share))
        + _RANK * (1 - abs(a.rank - b.rank))
    )


def _overlap(a: _Counted, b: _Counted) -> float:
    """Return the share of what occurs in both, counted as often as it does in both."""
    (values_a, times_a), (values_b, times_b) = a, b
    place = np.minimum(np.searchsorted(values_b, values_a), len(values_b) - 1)
    both = values_b[place] == values_a
    shared = np.minimum(times_a[both], times_b[place[both]]).sum()
    return float(2 * shared / (times_a.sum() + times_b.sum()))


def _by_place(a: Executed, b: Executed, likeness: _Likeness) -> Iterator[KindPair]:
    together: dict[tuple[int, int], list[int]] = {}
    for place, kinds in enumerate(zip(a.kinds, b.kinds, strict=True)):
        if kinds[0] in likeness.a and kinds[1] in likeness.b:
            together.setdefault(kinds, []).append(place)
    for places in together.values():
        yield KindPair(a=tuple(places), b=tuple(places))


def _by_kind(likeness: _Likeness) -> Iterator[KindPair]:
    """Pair kinds, the most alike first, each once; of equally alike ones those that came first."""
    kinds_a, kinds_b = list(likeness.a), list(likeness.b)
    best = sorted(
        ((likeness.of(left, right), -i, -j) for i, left in enumerate(kinds_a) for j, right in enumerate(kinds_b)),
        reverse=True,
    )
    paired_a, paired_b = set(), set()
    for _, i, j in best:
        if i not in paired_a and j not in paired_b:
            paired_a.add(i)
            paired_b.add(j)
            yield KindPair(a=likeness.a[kinds_a[-i]].places, b=likeness.b[kinds_b[-j]].places)
