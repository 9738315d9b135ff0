"""What a map says: classes of bit-equal row counts, the cheapest padding, and which module breaks a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tracediff.findings.maps import BatchMap, Count, ModuleMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """A module's row counts, sorted by their bits.

    Attributes:
        equal: Row counts with equal bits, each in ascending order, by their smallest.
        varying: Row counts at which a second run gave different bits; in no class.
    """

    equal: tuple[tuple[int, ...], ...]
    varying: tuple[int, ...]

    @property
    def invariant(self) -> bool:
        """Whether every row count gave the same bits."""
        return len(self.equal) == 1 and not self.varying

    def place(self, rows: int) -> int | None:
        """Return the index of the class that holds a row count; None where it varies or was not measured."""
        return next((place for place, members in enumerate(self.equal) if rows in members), None)


def classes_of(module: ModuleMap) -> Classes:
    """Return the classes of one module."""
    by_bits: dict[str, list[int]] = {}
    for count in module.counts:
        if count.bits is not None:
            by_bits.setdefault(count.bits, []).append(count.rows)
    return Classes(
        equal=tuple(sorted(map(tuple, by_bits.values()))),
        varying=tuple(count.rows for count in module.counts if count.bits is None),
    )


def ranges_in_words(rows: Iterable[int]) -> str:
    """Write row counts as `1–32, 40–64 by 8, 70`: what lies between two of them is never implied.

    Three counts or more at an equal distance, none of them with a neighbour, are written as a range with its step.
    """
    words = []
    alone: list[int] = []
    for run in _consecutive(rows):
        if len(run) == 1:
            alone += run
            continue
        words += [*_in_steps(alone), f"{run[0]}–{run[-1]}"]
        alone = []
    return ", ".join([*words, *_in_steps(alone)])


def _consecutive(rows: Iterable[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for each in sorted(rows):
        if runs and each == runs[-1][-1] + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _in_steps(rows: Sequence[int]) -> list[str]:
    words = []
    start = 0
    while start < len(rows):
        end = start + 2
        while end < len(rows) and rows[end] - rows[end - 1] == rows[start + 1] - rows[start]:
            end += 1
        if end - start > 2:
            words.append(f"{rows[start]}–{rows[end - 1]} by {rows[start + 1] - rows[start]}")
            start = end
        else:
            words.append(str(rows[start]))
            start += 1
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """How to give a range of row counts the same bits by computing more rows.

    Attributes:
        to: By row count, the count that is run instead.
        unmeasured: Those of the row counts whose own bits nobody measured; they run as the next count of the class.
        more_rows: Padding rows over real ones, every count of the range as likely as the others.
        more_time: Share of GPU time that this costs, over the row counts that were timed; None where none was.
        timed: How many row counts `more_time` is of.
    """

    to: dict[int, int]
    unmeasured: tuple[int, ...]
    more_rows: float
    more_time: float | None
    timed: int

    @property
    def steps(self) -> tuple[tuple[tuple[int, ...], int], ...]:
        """(row counts, run as) of each count that others are padded to, in ascending order."""
        found: dict[int, list[int]] = {}
        for rows, target in self.to.items():
            if rows != target:
                found.setdefault(target, []).append(rows)
        return tuple((tuple(rows), target) for target, rows in found.items())

    @property
    def pads_measured(self) -> bool:
        """Whether row counts are padded whose own bits are known."""
        return any(rows != target and rows not in self.unmeasured for rows, target in self.to.items())


def cheapest_padding(module: ModuleMap, wanted: Iterable[int], buckets: Iterable[int] | None = None) -> Padding | None:
    """Return the cheapest padding that gives all wanted row counts the same bits.

    Args:
        module: Usually the whole forward.
        wanted: Row counts that must agree.
        buckets: Counts that a server can run (its CUDA graphs); None allows every measured one.

    Returns:
        None where no class reaches up to the largest wanted count.
    """
    wanted = sorted(set(wanted))
    allowed = None if buckets is None else set(buckets)
    times = {count.rows: count.nanoseconds for count in module.counts}
    candidates = []
    for members in classes_of(module).equal:
        usable = [rows for rows in members if allowed is None or rows in allowed]
        if not wanted or not usable or usable[-1] < wanted[-1]:
            continue
        to = {rows: next(each for each in usable if each >= rows) for rows in wanted}
        candidates.append(_padding(to, times))
    return min(candidates, key=lambda each: (each.more_time is None, each.more_time, each.more_rows), default=None)


_PADDED_UP_TO = 64


def rows_to_pad(module: ModuleMap, wanted: Sequence[int] | None, buckets: Sequence[int] | None) -> list[int]:
    """Return the row counts that a padding of a forward must make equal.

    Args:
        module: The forward.
        wanted: What the user names; None takes every count up to 64 or the end of the map, with buckets up to the
            largest bucket.
        buckets: Counts that a server can run.
    """
    if wanted:
        return list(wanted)
    if buckets:
        return list(range(1, max(buckets) + 1))
    return list(range(1, min(_PADDED_UP_TO, module.counts[-1].rows) + 1))


def _padding(to: dict[int, int], times: dict[int, int | None]) -> Padding:
    pairs = [(times.get(rows), times.get(target)) for rows, target in to.items()]
    timed = [(before, after) for before, after in pairs if before is not None and after is not None]
    more_time = sum(after for _, after in timed) / sum(before for before, _ in timed) - 1 if timed else None
    return Padding(
        to=to,
        unmeasured=tuple(rows for rows in to if rows not in times),
        more_rows=sum(to.values()) / sum(to) - 1,
        more_time=more_time,
        timed=len(timed),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A step between neighbouring row counts at which a module's bits change.

    Attributes:
        before, after: The row counts.
        module: Whose bits change.
        why: How its order changed, in words; None where the kernels say nothing.
    """

    before: int
    after: int
    module: ModuleMap
    why: str | None


def causes_of_break(found: BatchMap, before: int, after: int, keys: int | None) -> tuple[Break, ...]:
    """Return the parts whose bits differ between two row counts, or vary at one of them.

    Args:
        found: The map.
        before, after: Row counts.
        keys: Cached keys of the forward that is explained; attention with other numbers of keys is left out.
    """
    causes = []
    for module in found.parts:
        if module.keys is not None and module.keys != keys:
            continue
        counts = {count.rows: count for count in module.counts}
        a, b = counts.get(before), counts.get(after)
        if a is not None and b is not None and (a.bits != b.bits or a.bits is None):
            causes.append(Break(before=before, after=after, module=module, why=_why(a, b)))
    return tuple(causes)


def forbidding(found: BatchMap, wanted: Sequence[int], keys: int | None) -> tuple[ModuleMap, ...]:
    """Return the parts that no padding makes equal over the wanted row counts: they forbid it for the forward."""
    return tuple(
        module for module in found.parts if module.keys in (None, keys) and cheapest_padding(module, wanted) is None
    )


def _why(a: Count, b: Count) -> str | None:
    if a.bits is None or b.bits is None:
        return "varies from run to run"
    if a.order is None or b.order is None:
        return None
    return a.order if a.order == b.order else f"{a.order} → {b.order}"


Table = dict[str, tuple[int, int]]
"""Verdict → (steps with equal bits, steps with different bits)."""


def prediction_table(found: BatchMap) -> Table:
    """Compare what the rules said of every step between neighbouring counts with the bits, over all parts."""
    counted: Counter[tuple[str, bool]] = Counter()
    for module in found.parts:
        for a, b in pairwise(module.counts):
            if b.predicted is not None and a.bits is not None and b.bits is not None:
                counted[b.predicted, a.bits == b.bits] += 1
    verdicts = dict.fromkeys(verdict for verdict, _ in counted)
    return {verdict: (counted[verdict, True], counted[verdict, False]) for verdict in verdicts}
