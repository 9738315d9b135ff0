"""Pair what two traces name differently: by place, and phases also by their modules.

Phases and modules are compared by name. A name that only one trace has (it holds a length, or names another class of
module) still has a place: between two names that both traces have. If both traces have equally many such names at one
place, and the same sort of kernels runs there, they are paired in order, and a note says so.

What is left are phases whose place differs: hooks on every module but the root make the phases `model` and `lm_head`
where hooks on the root as well make one, `LlamaForCausalLM`. Such a phase is paired with the only one in the other
trace that runs the same modules, and what is a phase of its own there is the module of that name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from operator import attrgetter

import numpy as np
from msgspec.structs import replace

from tracediff.text import shorten
from tracediff.trace import KernelTable, RangeKey

#: Pairs that a note names.
_TOLD = 3
#: Roles that tell modules of one sort from others.
_SORTS = ("gemm", "attention")
#: Pairs of phases whose modules are compared, which takes a few tenths of a second.
_MOST_COMPARED = 1_000_000
_KeysOfPhase = dict[str | None, list[RangeKey]]
_PhasesOfModules = dict[frozenset[str], list[str]]


def pair_names(a: KernelTable, b: KernelTable) -> KernelTable:
    """Return b with phases and modules that only b has renamed to those of a that have the same place.

    Args:
        a, b: The traces; `a` is the reference.
    """
    in_phase_a, in_phase_b = _by_phase(a.keys), _by_phase(b.keys)
    phases = _by_place(
        [phase for phase in in_phase_a if phase is not None],
        [phase for phase in in_phase_b if phase is not None],
        lambda of_a, of_b: _share_modules(in_phase_a[of_a], in_phase_b[of_b]),
    )
    runs_a, runs_b = _Runs(a), _Runs(b)
    alone_a = _phases_of_modules(in_phase_a, in_phase_b.keys() | phases.values(), runs_a)
    alone_b = _phases_of_modules(in_phase_b, in_phase_a.keys() | phases.keys(), runs_b)
    too_many = len(alone_a) * len(alone_b) > _MOST_COMPARED
    by_modules = {} if too_many else _by_modules(alone_a, alone_b)
    renamed: dict[RangeKey, RangeKey] = {}
    paired = {**phases, **by_modules}
    for of_b, of_a in paired.items():
        renamed |= _modules_that_are_phases(of_a, of_b, in_phase_a, in_phase_b)
    taken = set(renamed.values())
    told = list(phases.items())
    for phase, every_b in in_phase_b.items():
        here = phase if phase is None else paired.get(phase, phase)
        keys_a, keys_b = in_phase_a.get(here, []), every_b
        if renamed:
            keys_a = [key for key in keys_a if key not in taken]
            keys_b = [key for key in keys_b if key not in renamed]
        modules: dict[str, str] = {}
        if {key.module for key in keys_a} != {key.module for key in keys_b}:
            modules = _modules_by_place(
                {key.module: (key.layer, runs_a.sorts[key]) for key in keys_a},
                {key.module: (key.layer, runs_b.sorts[key]) for key in keys_b},
            )
        told += modules.items()
        if modules or here != phase:
            here_b = {key: replace(key, phase=here, module=modules.get(key.module, key.module)) for key in keys_b}
            renamed |= here_b
            taken.update(here_b.values())
    notes = [
        *_note("names that only this trace has, compared by place", told),
        *_note("phases that only this trace has, compared with those of the same modules", list(by_modules.items())),
        *(
            [f"{len(alone_b):,} phases that only this trace has are too many to look for their modules"]
            if too_many
            else []
        ),
    ]
    if not notes:
        return b
    return replace(b, keys=tuple(renamed.get(key, key) for key in b.keys), notes=(*b.notes, *notes))


def _note(what: str, told: Sequence[tuple[str, str]]) -> list[str]:
    """Return a note that names a few pairs, or none where there are none."""
    if not told:
        return []
    pairs = ", ".join(f"{shorten(of_b, 40)} as {shorten(of_a, 40)}" for of_b, of_a in told[:_TOLD])
    more = f" and {len(told) - _TOLD:,} more" if len(told) > _TOLD else ""
    return [f"{what}: {pairs}{more}"]


def _by_modules(a: _PhasesOfModules, b: _PhasesOfModules) -> dict[str, str]:
    """Return phases of a by phases of b that run the same modules as no other phase does."""
    alike = [
        (of_a, of_b)
        for modules, of_a in a.items()
        for others, of_b in b.items()
        if modules <= others or others <= modules
        if 2 * min(len(modules), len(others)) > max(len(modules), len(others))
    ]
    times_a, times_b = Counter(of_a[0] for of_a, _ in alike), Counter(of_b[0] for _, of_b in alike)
    return {
        of_b[0]: of_a[0]
        for of_a, of_b in alike
        if len(of_a) == len(of_b) == 1 and times_a[of_a[0]] == times_b[of_b[0]] == 1
    }


def _phases_of_modules(phases: _KeysOfPhase, known: Collection[str | None], runs: _Runs) -> _PhasesOfModules:
    """Return phases by their modules that run a GEMM or attention; those that have several such modules.

    Args:
        phases: The phases of a trace.
        known: Those that are left out.
        runs: What runs where.
    """
    result: _PhasesOfModules = {}
    for phase, keys in phases.items():
        if phase is None or phase in known:
            continue
        modules = frozenset(key.module for key in keys if key.module and any(runs.sorts[key]))
        if len(modules) > 1:
            result.setdefault(modules, []).append(phase)
    return result


def _modules_that_are_phases(of_a: str, of_b: str, a: _KeysOfPhase, b: _KeysOfPhase) -> dict[RangeKey, RangeKey]:
    """Return keys of a by keys of b where a module of the paired phase is a phase of its own in the other trace.

    The paired phase itself may be such a module. What runs directly under the other's phase then has no counterpart.
    """
    keys_a, keys_b = {key.module: key for key in a[of_a]}, {key.module: key for key in b[of_b]}
    renamed: dict[RangeKey, RangeKey] = {}
    for module in keys_b.keys() - keys_a.keys() - b.keys():
        if alone := _directly_under(a.get(module, ()), whole=module != of_a):
            renamed[keys_b[module]] = alone
    for module in keys_a.keys() - keys_b.keys() - a.keys():
        if alone := _directly_under(b.get(module, ()), whole=module != of_b):
            renamed[alone] = keys_a[module]
    if of_a in keys_b and "" in keys_b:
        renamed[keys_b[""]] = keys_b[""]
    return renamed


def _directly_under(keys: Sequence[RangeKey], *, whole: bool) -> RangeKey | None:
    """Return the key of what runs in a phase and none of its modules; with `whole`, only where that is all of it."""
    found = [key for key in keys if not key.module]
    return found[0] if found and (len(keys) == 1 or not whole) else None


def _share_modules(a: Sequence[RangeKey], b: Sequence[RangeKey]) -> bool:
    """Return whether two phases run half of their modules, or more, in common."""
    modules_a, modules_b = {key.module for key in a}, {key.module for key in b}
    return 2 * len(modules_a & modules_b) >= min(len(modules_a), len(modules_b))


def _modules_by_place(a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, str]:
    """Return modules of a by modules of b that have the same place; the values given must be equal."""
    return _by_place(list(a), list(b), lambda of_a, of_b: a[of_a] == b[of_b])


def _by_phase(keys: Sequence[RangeKey]) -> _KeysOfPhase:
    result: _KeysOfPhase = {}
    for phase, together in groupby(keys, attrgetter("phase")):
        result.setdefault(phase, []).extend(together)
    return result


class _Runs:
    """What sort of kernels runs where in a trace; looked at only where the names of modules differ."""

    def __init__(self, table: KernelTable) -> None:
        self._table = table

    @cached_property
    def sorts(self) -> dict[RangeKey, tuple[bool, ...]]:
        """Return for each key whether kernels of each telling role run there."""
        table = self._table
        roles = [parsed.role for parsed in table.parsed]
        runs = []
        for sort in _SORTS:
            is_sort = np.array([role == sort for role in roles], dtype=np.bool_)[table.name]
            runs.append((np.bincount(table.key[is_sort], minlength=len(table.keys)) > 0).tolist())
        return dict(zip(table.keys, zip(*runs, strict=True), strict=True))


def _by_place(a: Sequence[str], b: Sequence[str], alike: Callable[[str, str], bool]) -> dict[str, str]:
    """Return names of a by names of b: those that only one sequence has, between the same two names in both."""
    both = set(a) & set(b)
    gaps_a, gaps_b = _gaps(a, both), _gaps(b, both)
    pairs: dict[str, str] = {}
    for place, of_b in gaps_b.items():
        of_a = gaps_a.get(place, [])
        if len(of_a) == len(of_b):
            pairs |= {y: x for x, y in zip(of_a, of_b, strict=True) if alike(x, y)}
    return pairs


def _gaps(names: Sequence[str], both: set[str]) -> dict[tuple[str | None, str | None], list[str]]:
    """Return the names that are not in both sequences by the nearest ones before and after them that are."""
    gaps: dict[tuple[str | None, str | None], list[str]] = {}
    before: str | None = None
    waiting: list[str] = []
    for name in (*names, None):
        if name is not None and name not in both:
            waiting.append(name)
            continue
        if waiting:
            gaps[before, name] = waiting
        before, waiting = name, []
    return gaps
