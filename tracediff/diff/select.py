"""Which kernels of the traces are compared: every kind of iteration of each phase once.

A phase that ran many times (a decode step in a loop, a server's requests) is one thing repeated. Iterations that run
the same kernels in the same modules are of one kind, and the last of each kind stands for it, as far from warm-up as
can be. Where the traces went through their kinds in the same sequence (a long first step, then short ones), every kind
is compared with its counterpart and nothing is lost. Where they did not (warm-up in one of them), the most common kind
of each is compared, and what is left out is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracediff.errors import TracediffError
from tracediff.text import shorten
from tracediff.trace import KernelTable
from tracediff.trace.table import Int64

UInt64 = npt.NDArray[np.uint64]

#: More kinds than this are no phases of their own, but a phase that never settles.
_MOST_KINDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One iteration of one phase.

    Attributes:
        phase: What it is called in the result: the phase's name, with the iteration where several are compared.
        kernels: Indices of its kernels in the table, in launch order.
    """

    phase: str | None
    kernels: Int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The kernels of one trace to compare.

    Attributes:
        parts: In order of the run.
        notes: What was left out, one sentence each.
    """

    parts: tuple[Part, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Iterations:
    """The iterations of one phase: their numbers, kernels, and kinds (0, 1, … in order of appearance)."""

    numbers: list[int]
    kernels: list[Int64]
    kinds: list[int]

    def last(self) -> dict[int, int]:
        """Return the place of each kind's last iteration."""
        return {kind: place for place, kind in enumerate(self.kinds)}

    def usual(self) -> int:
        """Return the most common kind; of equally common ones the latest."""
        count, last = Counter(self.kinds), self.last()
        return max(count, key=lambda kind: (count[kind], last[kind]))


def select(tables: Sequence[KernelTable], phases: Collection[str] = ()) -> tuple[Selection, ...]:
    """Choose what to compare of one trace or of several.

    Args:
        tables: The traces.
        phases: Only these phases; all when empty.

    Raises:
        TracediffError: A named phase is in none of the traces.
    """
    found = [_phases(table) for table in tables]
    known = list(dict.fromkeys(phase for each in found for phase in each))
    for wanted in phases:
        if wanted not in known:
            there = ", ".join(shorten(each, 40) for each in known[:20] if each is not None) or "none"
            paths = " and ".join(dict.fromkeys(table.info.path for table in tables))
            raise TracediffError(f"{paths}: no phase {wanted!r}", f"there is {there}")
    parts: list[list[Part]] = [[] for _ in tables]
    notes: list[list[str]] = [[] for _ in tables]
    for phase in known:
        if phases and phase not in phases:
            continue
        runs = [
            None if phase not in each else _iterations(table, each[phase], phase)
            for table, each in zip(tables, found, strict=True)
        ]
        alike = len({tuple(run.kinds) for run in runs if run is not None}) == 1
        for index, run in enumerate(runs):
            if run is not None:
                chosen, words = _choose(run, phase, alike)
                parts[index] += chosen
                notes[index] += words
    return tuple(Selection(parts=tuple(part), notes=tuple(note)) for part, note in zip(parts, notes, strict=True))


def _phases(table: KernelTable) -> dict[str | None, Int64]:
    """Return each phase's kernels, phases in order of first launch."""
    known = list(dict.fromkeys(key.phase for key in table.keys))
    position = {phase: index for index, phase in enumerate(known)}
    code = np.array([position[key.phase] for key in table.keys] or [0], dtype=np.int64)[table.key]
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(known) + 1))
    return {phase: order[bounds[index] : bounds[index + 1]] for index, phase in enumerate(known)}


def _iterations(table: KernelTable, kernels: Int64, phase: str | None) -> _Iterations:
    """Cut a phase's kernels into iterations; kernels outside every range are one."""
    iteration = table.iteration[kernels]
    order = np.argsort(iteration, kind="stable")
    ordered = kernels[order]
    first = np.flatnonzero(np.r_[True, np.diff(iteration[order]) != 0])
    if phase is None or len(first) == 1:
        return _Iterations(numbers=[0], kernels=[kernels], kinds=[0])
    ends = np.r_[first[1:], len(ordered)]
    place = np.arange(len(ordered)) - np.repeat(first, ends - first)
    hashes = np.bitwise_xor.reduceat(_sequence_hash(table, ordered, place), first).tolist()
    kinds: dict[int, int] = {}
    return _Iterations(
        numbers=iteration[order][first].tolist(),
        kernels=[ordered[start:end] for start, end in zip(first, ends, strict=True)],
        kinds=[kinds.setdefault(each, len(kinds)) for each in hashes],
    )


def _choose(run: _Iterations, phase: str | None, alike: bool) -> tuple[list[Part], list[str]]:
    last = run.last()
    if len(run.numbers) == 1:
        return [Part(phase=phase, kernels=run.kernels[0])], []
    ran = f"{shorten(str(phase), 40)} ran {len(run.numbers)} times"
    if alike and 1 < len(last) <= _MOST_KINDS:
        places = list(last.values())
        parts = [Part(phase=f"{phase}[{run.numbers[place]}]", kernels=run.kernels[place]) for place in places]
        numbers = ", ".join(str(run.numbers[place]) for place in places)
        return parts, [f"{ran}, with {len(last)} kernel sequences; compared: iterations {numbers}, one of each"]
    usual = run.usual()
    place = last[usual]
    note = f"{ran}; compared: iteration {run.numbers[place]}"
    others = len(run.numbers) - run.kinds.count(usual)
    if others:
        note += f"; {others} ran other kernels and were left out"
    return [Part(phase=phase, kernels=run.kernels[place])], [note]


def _sequence_hash(table: KernelTable, kernels: Int64, place: Int64) -> UInt64:
    """Hash each kernel's name and module with its place, so that the XOR over an iteration tells its sequence.

    Launch configurations stay out: a cache that grows changes the grid of every step.
    """
    value = _scatter(place.astype(np.uint64) + np.uint64(1))
    for part in (table.name, table.key):
        value = _scatter(value ^ part[kernels].astype(np.uint64))
    return value


def _scatter(value: UInt64) -> UInt64:
    """Send neighbouring numbers far apart (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
