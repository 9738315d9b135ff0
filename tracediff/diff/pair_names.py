"""Pair by place what two traces name differently.

Phases and modules are compared by name. A name that only one trace has (it holds a length, or names another class of
module) still has a place: between two names that both traces have. If both traces have equally many such names at one
place, and the same sort of kernels runs there, they are paired in order, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from msgspec.structs import replace

from tracediff.text import shorten
from tracediff.trace import KernelTable, RangeKey

#: Pairs that a note names.
_TOLD = 3
#: Roles that tell modules of one sort from others.
_SORTS = ("gemm", "attention")


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
    renamed: dict[RangeKey, RangeKey] = {}
    told = list(phases.items())
    for phase, keys_b in in_phase_b.items():
        of_a = phase if phase is None else phases.get(phase, phase)
        keys_a = in_phase_a.get(of_a, [])
        modules: dict[str, str] = {}
        if {key.module for key in keys_a} != {key.module for key in keys_b}:
            modules = _modules_by_place(
                {key.module: (key.layer, runs_a.sorts[key]) for key in keys_a},
                {key.module: (key.layer, runs_b.sorts[key]) for key in keys_b},
            )
        told += modules.items()
        if modules or of_a != phase:
            renamed |= {key: replace(key, phase=of_a, module=modules.get(key.module, key.module)) for key in keys_b}
    if not told:
        return b
    pairs = ", ".join(f"{shorten(of_b, 40)} as {shorten(of_a, 40)}" for of_b, of_a in told[:_TOLD])
    more = f" and {len(told) - _TOLD:,} more" if len(told) > _TOLD else ""
    note = f"names that only this trace has, compared by place: {pairs}{more}"
    return replace(b, keys=tuple(renamed.get(key, key) for key in b.keys), notes=(*b.notes, note))


def _share_modules(a: Sequence[RangeKey], b: Sequence[RangeKey]) -> bool:
    """Return whether two phases run half of their modules, or more, in common."""
    modules_a, modules_b = {key.module for key in a}, {key.module for key in b}
    return 2 * len(modules_a & modules_b) >= min(len(modules_a), len(modules_b))


def _modules_by_place(a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, str]:
    """Return modules of a by modules of b that have the same place; the values given must be equal."""
    return _by_place(list(a), list(b), lambda of_a, of_b: a[of_a] == b[of_b])


def _by_phase(keys: Sequence[RangeKey]) -> dict[str | None, list[RangeKey]]:
    result: dict[str | None, list[RangeKey]] = {}
    for key in keys:
        result.setdefault(key.phase, []).append(key)
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
