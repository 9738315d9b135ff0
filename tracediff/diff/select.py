"""Which kernels of the traces are compared: every kind of execution of each phase once.

Each kind is compared by its last execution, the one furthest from warm-up. Kinds are paired with their counterparts in
the other trace, whatever their order. What has no counterpart is counted, and so is everything else that is left out:
only what was compared may be called the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from tracediff.diff.compared import Executions, LeftOut
from tracediff.diff.executions import Executed, Numbered, executed, numbered, phases_of, repeated_steps
from tracediff.diff.other_launches import other_launches
from tracediff.diff.pair_kinds import pair_kinds
from tracediff.diff.places import phase_name, section_name
from tracediff.diff.selection import MOST_UNNAMED, Collected, Excerpt, Selection
from tracediff.diff.words import listing
from tracediff.errors import TracediffError
from tracediff.text import shorten
from tracediff.trace import KernelTable
from tracediff.trace.table import Int64

#: Phases that are named where one is asked for that there is not.
_MOST_NAMED = 20
#: More kinds than this of one phase are not compared: the phase never settles.
_MOST_KINDS = 32
#: Texts that count up and are compared together are named by at most so many stretches of numbers.
_MOST_STRETCHES = 3


def select(tables: Sequence[KernelTable], phases: Collection[str] = ()) -> tuple[Selection, ...]:
    """Choose what to compare of two traces, or what to show of one.

    Args:
        tables: One trace or two.
        phases: Only these phases, as the trace or a report names them (`decode` means every `decode[…]`); all when
            empty.

    Raises:
        TracediffError: A named phase is in none of the traces.
    """
    traces = numbered(tables)
    found = [phases_of(table) for table in tables]
    known = list(dict.fromkeys(phase for each in found for phase in each))
    named = [phase for phase in known if phase is not None]
    wanted = _Wanted(phases, named)
    may_be_measured = any(table.info.batch is not None for table in tables)
    steps = repeated_steps([phase for phase in named if phase not in phases], may_be_measured)
    names = {phase: steps[phase][0] if phase in steps else phase for phase in named}
    collected = [Collected(table=table) for table in tables]
    for name in dict.fromkeys(names.values()):
        members = [phase for phase in named if names[phase] == name]
        if not wanted.may_hold(name):
            for each, of_trace in zip(collected, found, strict=True):
                left = [of_trace[phase] for phase in members if phase in of_trace]
                if left:
                    each.leave_out(LeftOut.NOT_ASKED_FOR, name, len(left), sum(map(len, left)))
            continue
        runs = [
            executed(trace, [(steps[p][1] if p in steps else None, of_trace[p]) for p in members if p in of_trace])
            for trace, of_trace in zip(traces, found, strict=True)
        ]
        texts = {steps[phase][1]: phase for phase in members if phase in steps}
        _add_phase(name, texts, runs, traces, collected)
        if not wanted.holds(name):
            for each in collected:
                each.keep_only(name, wanted.holds)
    for each, of_trace in zip(collected, found, strict=True):
        if None in of_trace and wanted.holds(None):
            _add_outside(of_trace[None], each)
        elif None in of_trace:
            each.leave_out(LeftOut.NOT_ASKED_FOR, None, 0, len(of_trace[None]))
    wanted.check([*names.values(), *([None] if any(None in of_trace for of_trace in found) else [])], tables)
    return tuple(each.done() for each in collected)


class _Wanted:
    """The phases that the user asks for; those that were found are remembered.

    Args:
        phases: What the user wrote.
        named: The phases of the traces. What is none of them may name a kind of executions: `step[17]` of `step`.
    """

    def __init__(self, phases: Collection[str], named: Collection[str]) -> None:
        self._phases = phases
        self._kinds = [phase for phase in phases if phase not in named]
        self._found: set[str] = set()

    def may_hold(self, name: str) -> bool:
        """Whether a phase, or a kind of its executions, is asked for."""
        return self.holds(name) or any(phase.startswith(f"{phase_name(name)}[") for phase in self._kinds)

    def holds(self, name: str | None) -> bool:
        """Whether a phase is asked for: by its name, or by that of its section."""
        if not self._phases:
            return True
        of_section = section_name(name)
        asked = {name or "", phase_name(name), of_section or "", phase_name(of_section)} & set(self._phases)
        self._found |= asked
        return bool(asked)

    def check(self, names: Sequence[str | None], tables: Sequence[KernelTable]) -> None:
        """Raise TracediffError where a phase was asked for that there is not."""
        for phase in self._phases:
            if phase not in self._found:
                known = list(dict.fromkeys(map(phase_name, names)))
                near = known if len(known) <= _MOST_NAMED else get_close_matches(phase, known, _MOST_NAMED, 0)
                there = ", ".join(shorten(each, 40) for each in near) or "none"
                paths = " and ".join(dict.fromkeys(table.info.path for table in tables))
                raise TracediffError(f"{paths}: no phase {phase!r}", f"there is {there}")


def _add_phase(
    name: str, texts: Mapping[int, str], runs: list[Executed], traces: list[Numbered], collected: list[Collected]
) -> None:
    """Add one phase to the selections of the traces that have it.

    Args:
        name: The phase.
        texts: What its executions are called, by the number in the text, where they count up; else none.
        runs: Its executions in each trace; none where the trace does not have it.
        traces: The traces.
        collected: Their selections.
    """
    there = [index for index, run in enumerate(runs) if run.numbers]
    compared = _kinds_to_compare([runs[index] for index in there], [traces[index] for index in there])
    numbers = [[runs[there[0]].numbers[place] for place in places[0]] for places in compared]
    called = _names_of_kinds(name, bool(texts), numbers)
    for places_of_kind, phase in zip(compared, called, strict=True):
        unnamed = [
            int(collected[index].unnamed(runs[index].kernels[places[-1]]).sum())
            for index, places in zip(there, places_of_kind, strict=True)
        ]
        for index, places in zip(there, places_of_kind, strict=True):
            table, kernels, each = traces[index].table, runs[index].kernels, collected[index]
            each.add(Excerpt(phase=phase, kernels=kernels[places[-1]]), by_role=max(unnamed) > MOST_UNNAMED)
            if len(places) > 1:
                durations = tuple(int(table.duration_ns[kernels[place]].sum()) for place in places)
                of_kind = tuple(texts[runs[index].numbers[place]] for place in places) if texts else ()
                each.executions.append(Executions(phase=phase, texts=of_kind, durations_ns=durations))
        if len(there) == 2:
            _count_unlike(phase, places_of_kind, runs, traces, collected)
    for position, index in enumerate(there):
        run, places_taken = runs[index], [places[position] for places in compared]
        taken = {place for places in places_taken for place in places}
        left = [place for place in range(len(run.kernels)) if place not in taken]
        if left:
            kernels_left = sum(len(run.kernels[place]) for place in left)
            collected[index].leave_out(LeftOut.OTHER_KIND, name, len(left), kernels_left)
        if len(run.numbers) > 1:
            shown = [places[-1] for places in places_taken]
            collected[index].notes.append(_note(name, run, shown, left, _shapes(traces[index].table, run)))


def _count_unlike(
    phase: str,
    places: Sequence[Sequence[int]],
    runs: list[Executed],
    traces: list[Numbered],
    collected: list[Collected],
) -> None:
    """Count the executions of a compared kind that are more than the other trace has, or launched otherwise."""
    for index in (0, 1):
        more = len(places[index]) - len(places[1 - index])
        if more > 0:
            kernels = runs[index].kernels[places[index][-1]]
            collected[index].leave_out(LeftOut.OTHER_COUNT, phase, more, more * len(kernels))
    if len(places[0]) == len(places[1]) and runs[0].kinds[places[0][-1]] == runs[1].kinds[places[1][-1]]:
        unlike = len(other_launches((runs[0], runs[1]), (places[0], places[1]), (traces[0], traces[1])))
        if unlike:
            kernels = runs[0].kernels[places[0][-1]]
            for each in collected:
                each.leave_out(LeftOut.OTHER_LAUNCH, phase, unlike, unlike * len(kernels))


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


def _names_of_kinds(name: str, counts_up: bool, numbers: list[list[int]]) -> list[str]:
    """Return what each kind is called, given the numbers of its executions: `step`, `step[17]` or `decode[0–99]`."""
    if not counts_up:
        return [name] if len(numbers) == 1 else [f"{name}[{of_kind[-1]}]" for of_kind in numbers]
    called: list[str] = []
    for of_kind in numbers:
        plain = f"{name}[{_stretches(of_kind)}]"
        # Steps of one number may be of several kinds, where a program runs them all again.
        again = sum(each == plain or each.startswith(f"{plain} (") for each in called)
        called.append(f"{plain} ({again + 1})" if again else plain)
    return called


def _stretches(numbers: Sequence[int]) -> str:
    """Write numbers that count up: `0–99`, `0, 2–99`; the last one where they come in many stretches."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("–".join(map(str, each)) for each in found) if len(found) <= _MOST_STRETCHES else str(numbers[-1])


def _shapes(table: KernelTable, run: Executed) -> list[str]:
    """Return the shape of each execution, none where all are of one kind or shape, or the trace says none."""
    if not table.shapes or len(set(run.kinds)) == 1:
        return []
    codes = [int(table.shape[kernels].max()) for kernels in run.kernels]
    return [str(table.shapes[code]) if code >= 0 else "" for code in codes] if len(set(codes)) > 1 else []


def _note(phase: str, run: Executed, shown: list[int], left: list[int], shapes: list[str]) -> str:
    """Say what of a phase is compared.

    Args:
        phase: Its name.
        run: Its executions.
        shown: The place of one execution of each kind that is compared.
        left: The places of those that are not compared.
        shapes: The shape of each execution; none where they do not differ.
    """
    ran = f"{shorten(phase, 40)} ran {len(run.numbers)} times"
    called = [f"{run.numbers[each]}{f' ({shapes[each]})' if shapes and shapes[each] else ''}" for each in shown]
    if len(shown) == 1:
        note = f"{ran}; compared: iteration {called[0]}"
    else:
        note = f"{ran}, with {len(shown)} kernel sequences; compared: iterations {', '.join(called)}, one of each"
    if not left:
        return note
    were = "was" if len(left) == 1 else "were"
    of_shape = list(dict.fromkeys(shapes[each] for each in left if shapes[each])) if shapes else []
    which = f" of shape {listing(of_shape, limit=4)}" if of_shape else ""
    note = f"{note}; {len(left)}{which} ran other kernels and {were} left out"
    return f"{note} (--between compares steps of two shapes)" if of_shape else note


def _add_outside(kernels: Int64, collected: Collected) -> None:
    """Add the kernels outside every range, except set-up."""
    table = collected.table
    inside = np.flatnonzero(np.array([key.phase is not None for key in table.keys], dtype=np.bool_)[table.key])
    before = kernels[kernels < inside[0]] if len(inside) else kernels[:0]
    if len(before) and _products(table, before) <= _products(table, inside):
        kernels = kernels[len(before) :]
        collected.leave_out(LeftOut.SET_UP, None, 0, len(before))
    if not len(kernels):
        return
    collected.add_by_role(None, kernels)


def _products(table: KernelTable, kernels: Int64) -> int:
    is_product = np.array([each.role == "gemm" for each in table.parsed], dtype=np.bool_)
    return int(is_product[table.name[kernels]].sum())
