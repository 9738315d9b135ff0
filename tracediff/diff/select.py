"""Which kernels of a trace are compared: one iteration of each phase, in the steady state.

A phase that ran many times (a decode step in a loop, a server's requests) is one thing repeated. What is compared is
its usual kernel sequence; repeats that ran other kernels (warm-up, mostly) are left out, and that is said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracediff.errors import TracediffError
from tracediff.text import shorten
from tracediff.trace import KernelTable
from tracediff.trace.table import Int64

UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The kernels to compare.

    Attributes:
        kernels: Their indices in the table, in launch order.
        notes: What was left out, one sentence each.
    """

    kernels: Int64
    notes: tuple[str, ...]


def select(table: KernelTable, phases: Collection[str] = ()) -> Selection:
    """Choose one iteration of each phase, of the phases named (all when none is).

    Raises:
        TracediffError: A named phase is not in the trace.
    """
    known = list(dict.fromkeys(key.phase for key in table.keys))
    missing = [phase for phase in phases if phase not in known]
    if missing:
        there = ", ".join(shorten(phase, 40) for phase in known[:20] if phase is not None) or "none"
        raise TracediffError(f"{table.info.path} has no phase {missing[0]!r}", f"it has {there}")
    position = {phase: index for index, phase in enumerate(known)}
    phase_code = np.array([position[key.phase] for key in table.keys] or [0], dtype=np.int64)[table.key]
    chosen: list[Int64] = []
    notes: list[str] = []
    order = np.argsort(phase_code, kind="stable")
    bounds = np.searchsorted(phase_code[order], np.arange(len(known) + 1))
    for phase, first, past in zip(known, bounds[:-1], bounds[1:], strict=True):
        if phases and phase not in phases:
            continue
        kernels = order[first:past]
        if phase is not None:
            kernels, note = _steady(table, kernels, phase)
            notes += note
        chosen.append(kernels)
    return Selection(kernels=np.sort(np.concatenate(chosen)) if chosen else order[:0], notes=tuple(notes))


def _steady(table: KernelTable, kernels: Int64, phase: str) -> tuple[Int64, list[str]]:
    """Return the kernels of the last iteration that runs the most common sequence, and what was left out."""
    iteration = table.iteration[kernels]
    by_iteration = np.argsort(iteration, kind="stable")
    ordered = kernels[by_iteration]
    first = np.flatnonzero(np.r_[True, np.diff(iteration[by_iteration]) != 0])
    if len(first) == 1:
        return kernels, []
    count = np.diff(np.r_[first, len(ordered)])
    place = np.arange(len(ordered)) - np.repeat(first, count)
    signature = np.bitwise_xor.reduceat(_sequence_hash(table, ordered, place), first)
    distinct, usual = np.unique(signature, return_counts=True)
    steady = np.flatnonzero(signature == distinct[usual.argmax()])
    last = int(steady[-1])
    others = len(first) - len(steady)
    note = (
        f"{shorten(phase, 40)} ran {len(first)} times; compared: iteration {int(iteration[by_iteration][first[last]])}"
    )
    if others:
        note += f"; {others} ran other kernels and were left out"
    return ordered[first[last] : first[last] + count[last]], [note]


def _sequence_hash(table: KernelTable, kernels: Int64, place: Int64) -> UInt64:
    """Hash each kernel with its place, module and launch, so that the XOR over an iteration tells its sequence."""
    value = _scatter(place.astype(np.uint64) + np.uint64(1))
    parts = [table.name, table.key, *table.grid.T, *table.block.T]
    for part in parts:
        value = _scatter(value ^ part[kernels].astype(np.uint64))
    return value


def _scatter(value: UInt64) -> UInt64:
    """Send neighbouring numbers far apart (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
