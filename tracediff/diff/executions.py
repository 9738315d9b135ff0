"""The executions of each phase, told apart by the kernels they ran.

A phase that ran many times (a decode step in a loop, a server's requests) is one thing repeated: either one text that
occurs again and again (`step`), or texts that only count up (`decode[0]`, `replay 1`, …). Executions that run the same
kernels in the same modules are of one kind. Kinds have the same number in every trace that is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracediff.trace import KernelTable
from tracediff.trace.table import Int64

UInt64 = npt.NDArray[np.uint64]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
#: `decode[17]`, `replay 17`, `token_17`, `Forward #17`; but `layers 3` is another layer than `layers 4`.
_COUNTED = re.compile(r"(?P<name>.*)(?:\[(?P<number>\d{1,9})\]|[ _#:-](?P<plain>\d{1,9}))")
_BEFORE_A_NUMBER = " _#:-"
_COUNTS_PLACES = ("layer", "layers", "block", "blocks")
#: So many steps that count up keep a phase each; more are executions of one phase.
_KEPT_APART = 4
#: Evidence is measured step by step, so steps that it may speak of keep a phase each.
_KEPT_APART_MEASURED = 32

#: Kernels whose hashes are made at once: what is made on the way stays in the processor's cache.
_HASHED_AT_ONCE = 1 << 16


class Executed(Struct, frozen=True, kw_only=True):
    """The executions of one phase in one trace, in order of the run.

    Attributes:
        numbers: Which occurrence each is: the number in its text, or counted from 0.
        kernels: Indices of each one's kernels in the table, in launch order.
        kinds: The kind of each.
    """

    numbers: list[int]
    kernels: list[Int64]
    kinds: list[int]

    def places(self) -> dict[int, list[int]]:
        """Return the places of each kind's executions, kinds in order of appearance."""
        result: dict[int, list[int]] = {}
        for place, kind in enumerate(self.kinds):
            result.setdefault(kind, []).append(place)
        return result


class Numbered(Struct, frozen=True, kw_only=True):
    """A trace whose kernel names and modules have numbers that mean the same in every trace numbered with it.

    Attributes:
        table: The trace.
        names: The number of each of `table.names`.
        modules: The number of each key's module.
        algorithms: The number of each of `table.algorithms`, without what varies by process (addresses).
    """

    table: KernelTable
    names: Int64
    modules: Int64
    algorithms: Int64

    def names_of(self, kernels: Int64) -> Int64:
        """Return the number of each kernel's name."""
        return self.names[self.table.name[kernels]]

    def modules_of(self, kernels: Int64) -> Int64:
        """Return the number of each kernel's module."""
        return self.modules[self.table.key[kernels]]


def numbered(tables: Sequence[KernelTable]) -> list[Numbered]:
    """Number the names and modules of some traces."""
    known: dict[str, int] = {}

    def numbers(texts: Iterable[str]) -> Int64:
        return np.array([known.setdefault(text, len(known)) for text in texts] or [0], dtype=np.int64)

    return [
        Numbered(
            table=table,
            names=numbers(table.names),
            modules=numbers(key.module for key in table.keys),
            algorithms=numbers(_ADDRESS.sub("", text) for text in table.algorithms),
        )
        for table in tables
    ]


def phases_of(table: KernelTable) -> dict[str | None, Int64]:
    """Return a trace's kernels by phase, phases in order of first launch."""
    known: dict[str | None, int] = {}
    of_key = [known.setdefault(key.phase, len(known)) for key in table.keys]
    # Numbers of 16 bits, as phases usually have, numpy sorts in linear time.
    code = np.array(of_key or [0], dtype=np.min_scalar_type(len(known)))[table.key]
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(known) + 1))
    return {phase: order[bounds[index] : bounds[index + 1]] for phase, index in known.items()}


def repeated_steps(phases: Collection[str], measured: bool) -> dict[str, tuple[str, int]]:
    """Return name and number of the phases that only count up (`decode[17]` → `decode`, 17), where these are many.

    Args:
        phases: Names of phases.
        measured: Whether evidence may speak of single steps.
    """
    steps: dict[str, tuple[str, int]] = {}
    for phase in phases:
        if match := _COUNTED.fullmatch(phase):
            name = match["name"].rstrip(_BEFORE_A_NUMBER)
            if not name.lower().endswith(_COUNTS_PLACES):
                steps[phase] = name, int(match["number"] or match["plain"])
    count: dict[str, int] = {}
    for name, _ in steps.values():
        count[name] = count.get(name, 0) + 1
    few = _KEPT_APART_MEASURED if measured else _KEPT_APART
    return {phase: step for phase, step in steps.items() if count[step[0]] > few}


def executed(trace: Numbered, phases: Iterable[tuple[int | None, Int64]]) -> Executed:
    """Cut the kernels of a phase into executions.

    Args:
        trace: The trace.
        phases: The kernels of the phase, or of each step of it with the step's number.
    """
    numbers: list[int] = []
    kernels: list[Int64] = []
    kinds: list[int] = []
    for number, every in phases:
        iteration = trace.table.iteration[every]
        order = np.argsort(iteration, kind="stable")
        ordered = every[order]
        first = np.flatnonzero(np.r_[True, np.diff(iteration[order]) != 0])
        ends = np.r_[first[1:], len(ordered)]
        place = np.arange(len(ordered)) - np.repeat(first, ends - first)
        hashes = np.bitwise_xor.reduceat(_sequence_hash(trace, ordered, place), first)
        numbers += iteration[order][first].tolist() if number is None else [number] * len(first)
        kernels += [ordered[start:end] for start, end in zip(first.tolist(), ends.tolist(), strict=True)]
        kinds += hashes.tolist()
    return Executed(numbers=numbers, kernels=kernels, kinds=kinds)


def _sequence_hash(trace: Numbered, kernels: Int64, place: Int64) -> UInt64:
    """Hash each kernel's name and module with its place, so that the XOR over an execution tells its sequence.

    Launch configurations stay out: a cache that grows changes the grid of every step.
    """
    hashes = np.empty(len(kernels), dtype=np.uint64)
    for first in range(0, len(kernels), _HASHED_AT_ONCE):
        part = slice(first, first + _HASHED_AT_ONCE)
        value = _scatter(place[part].astype(np.uint64) + np.uint64(1))
        for number in (trace.names_of(kernels[part]), trace.modules_of(kernels[part])):
            value = _scatter(value ^ number.astype(np.uint64))
        hashes[part] = value
    return hashes


def _scatter(value: UInt64) -> UInt64:
    """Send neighbouring numbers far apart (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
