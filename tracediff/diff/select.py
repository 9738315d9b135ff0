"""Which kernels of the traces are compared: every kind of execution of each phase once.

The last execution of each kind stands for it, as far from warm-up as can be, and says how often the kind ran. Kinds are
compared with their counterparts in the other trace, whatever their order. What has no counterpart is counted, and so is
everything else that is left out: "the same" may be said only of what was compared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from tracediff.diff.compared import Executions, LeftOut, NotCompared
from tracediff.diff.executions import Executed, Numbered, executed, numbered, phases_of, repeated_steps
from tracediff.diff.pair_kinds import pair_kinds
from tracediff.errors import TracediffError
from tracediff.text import shorten
from tracediff.trace import KernelTable
from tracediff.trace.table import Int64

#: More kinds than this of one phase are not compared: the phase never settles.
_MOST_KINDS = 32
#: Kernels outside every range that are listed, of each role.
_MOST_OUTSIDE = 500
#: Texts that count up and are compared together are named by at most so many stretches of numbers.
_MOST_STRETCHES = 3
#: Roles in the order in which kernels outside every range are listed: first those that say what was computed. The
#: kernel that adds the parts of a split-K product is judged with the product and listed there.
_ROLES = ("gemm", "attention", "reduction", "elementwise", "copy", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Kernels that are compared: one execution of one phase, or those of one role outside every range.

    Attributes:
        phase: What it is called in the result: the phase's name, with the execution where several are compared.
        kernels: Indices of its kernels in the table, in launch order.
        module: What these kernels are called, in place of the modules the table gives them.
    """

    phase: str | None
    kernels: Int64
    module: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The kernels of one trace to compare.

    Attributes:
        parts: In order of the run, kernels outside every range last.
        notes: What is compared of phases that ran more than once, one sentence each.
        executions: How often each compared phase ran, where that is more than once.
        not_compared: What was left out.
    """

    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    executions: tuple[Executions, ...] = ()
    not_compared: tuple[NotCompared, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Collected:
    """The selection of one trace while it is made."""

    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    executions: list[Executions] = field(default_factory=list)
    not_compared: list[NotCompared] = field(default_factory=list)

    def leave_out(self, why: LeftOut, phase: str | None, executions: int, kernels: int) -> None:
        """Count kernels that are not compared."""
        self.not_compared.append(NotCompared(why=why, phase=phase, executions=executions, kernels=kernels))

    def done(self) -> Selection:
        return Selection(
            parts=tuple(self.parts),
            notes=tuple(self.notes),
            executions=tuple(self.executions),
            not_compared=tuple(self.not_compared),
        )


def select(tables: Sequence[KernelTable], phases: Collection[str] = ()) -> tuple[Selection, ...]:
    """Choose what to compare of two traces, or what to show of one.

    Args:
        tables: One trace or two.
        phases: Only these phases (`decode` stands for every `decode[…]`); all when empty.

    Raises:
        TracediffError: A named phase is in none of the traces.
    """
    traces = numbered(tables)
    found = [phases_of(table) for table in tables]
    known = list(dict.fromkeys(phase for each in found for phase in each))
    named = [phase for phase in known if phase is not None]
    steps = repeated_steps([phase for phase in named if phase not in phases], any(t.info.manifest for t in tables))
    names = {phase: steps[phase][0] if phase in steps else phase for phase in named}
    _check_wanted(phases, names.values(), tables)
    collected = [_Collected() for _ in tables]
    for name in dict.fromkeys(names.values()):
        members = [phase for phase in named if names[phase] == name]
        if phases and name not in phases:
            for each, of_trace in zip(collected, found, strict=True):
                left = [of_trace[phase] for phase in members if phase in of_trace]
                if left:
                    each.leave_out(LeftOut.NOT_ASKED_FOR, name, len(left), sum(map(len, left)))
            continue
        runs = [
            executed(trace, [(steps[p][1] if p in steps else None, of_trace[p]) for p in members if p in of_trace])
            for trace, of_trace in zip(traces, found, strict=True)
        ]
        _add_phase(name, members != [name], runs, traces, collected)
    for each, table, of_trace in zip(collected, tables, found, strict=True):
        if None in of_trace and not phases:
            _add_outside(table, of_trace[None], each)
        elif None in of_trace:
            each.leave_out(LeftOut.NOT_ASKED_FOR, None, 0, len(of_trace[None]))
    return tuple(each.done() for each in collected)


def _check_wanted(phases: Collection[str], names: Collection[str], tables: Sequence[KernelTable]) -> None:
    for wanted in phases:
        if wanted not in names:
            there = ", ".join(shorten(each, 40) for each in list(dict.fromkeys(names))[:20]) or "none"
            paths = " and ".join(dict.fromkeys(table.info.path for table in tables))
            raise TracediffError(f"{paths}: no phase {wanted!r}", f"there is {there}")


def _add_phase(
    name: str, counts_up: bool, runs: list[Executed], traces: list[Numbered], collected: list[_Collected]
) -> None:
    """Add one phase to the selections of the traces that have it.

    Args:
        name: The phase.
        counts_up: Whether the numbers of its executions are those in its texts.
        runs: Its executions in each trace; none where the trace does not have it.
        traces: The traces.
        collected: Their selections.
    """
    there = [index for index, run in enumerate(runs) if run.numbers]
    compared = _kinds_to_compare([runs[index] for index in there], [traces[index] for index in there])
    numbers = [[runs[there[0]].numbers[place] for place in places[0]] for places in compared]
    for places_of_kind, of_kind in zip(compared, numbers, strict=True):
        phase = name
        if counts_up:
            phase = f"{name}[{_stretches(of_kind)}]"
        elif len(compared) > 1:
            phase = f"{name}[{of_kind[-1]}]"
        for index, places in zip(there, places_of_kind, strict=True):
            kernels = runs[index].kernels
            collected[index].parts.append(Part(phase=phase, kernels=kernels[places[-1]]))
            if len(places) > 1:
                durations = tuple(int(traces[index].table.duration_ns[kernels[place]].sum()) for place in places)
                collected[index].executions.append(Executions(phase=phase, durations_ns=durations))
    for position, index in enumerate(there):
        run, places_taken = runs[index], [places[position] for places in compared]
        taken = {place for places in places_taken for place in places}
        left = [kernels for place, kernels in enumerate(run.kernels) if place not in taken]
        if left:
            collected[index].leave_out(LeftOut.OTHER_KIND, name, len(left), sum(map(len, left)))
        if len(run.numbers) > 1:
            shown = [run.numbers[places[-1]] for places in places_taken]
            collected[index].notes.append(_note(name, len(run.numbers), shown, len(left)))


def _kinds_to_compare(runs: list[Executed], traces: list[Numbered]) -> list[tuple[Sequence[int], ...]]:
    """Return for each kind that is compared the places of its executions in each trace, in order of the run."""
    kinds: list[tuple[Sequence[int], ...]]
    if len(runs) == 1:
        kinds = [(places,) for places in runs[0].places().values()]
    else:
        kinds = [(pair.a, pair.b) for pair in pair_kinds((runs[0], runs[1]), (traces[0], traces[1]))]
    if len(kinds) <= _MOST_KINDS:
        return kinds
    usual = sorted(kinds, key=lambda places: (min(map(len, places)), places[0][-1]))[-_MOST_KINDS:]
    return sorted(usual, key=lambda places: places[0][0])


def _stretches(numbers: Sequence[int]) -> str:
    """Write numbers that count up: `0–99`, `0, 2–99`; the last one where they come in many stretches."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("–".join(map(str, each)) for each in found) if len(found) <= _MOST_STRETCHES else str(numbers[-1])


def _note(phase: str, executions: int, shown: list[int], left: int) -> str:
    ran = f"{shorten(phase, 40)} ran {executions} times"
    if len(shown) == 1:
        note = f"{ran}; compared: iteration {shown[0]}"
    else:
        numbers = ", ".join(map(str, shown))
        note = f"{ran}, with {len(shown)} kernel sequences; compared: iterations {numbers}, one of each"
    return f"{note}; {left} ran other kernels and were left out" if left else note


def _add_outside(table: KernelTable, kernels: Int64, collected: _Collected) -> None:
    """Add the kernels outside every range, role by role: which module each belongs to is not known."""
    inside = np.flatnonzero(np.array([key.phase is not None for key in table.keys], dtype=np.bool_)[table.key])
    if len(inside):
        before = kernels[kernels < inside[0]]
        kernels = kernels[len(before) :]
        if len(before):
            collected.leave_out(LeftOut.SET_UP, None, 0, len(before))
    if not len(kernels):
        return
    place = {role: number for number, role in enumerate(_ROLES)} | {"splitk_reduce": 0}
    code = np.array([place.get(each.role, len(_ROLES) - 1) for each in table.parsed], dtype=np.int64)
    code = code[table.name[kernels]]
    left = 0
    for number, role in enumerate(_ROLES):
        mine = kernels[code == number]
        if len(mine):
            collected.parts.append(Part(phase=None, kernels=mine[:_MOST_OUTSIDE], module=role))
        left += max(len(mine) - _MOST_OUTSIDE, 0)
    if left:
        collected.leave_out(LeftOut.OUTSIDE, None, 0, left)
