"""Which traces of a dataset run other kernels than the rest.

Of each (phase, module) the names of the kernels in its last iteration are compared, in launch order. Traces in which
they are the same for every module are one group; the largest group is the usual one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tracediff.errors import TracediffError
from tracediff.fleet.dataset import FILE, read_description, read_sequence

RangeName = tuple[str | None, str | None]
"""Phase and module."""
KernelNames = tuple[str, ...]
"""The kernels that a module launches, in launch order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A module that runs other kernels than in the usual group; an empty sequence where one has no such module."""

    phase: str | None
    module: str | None
    usual: KernelNames
    here: KernelNames


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceGroup:
    """Traces that run the same kernels in every module.

    Attributes:
        traces: Their names: paths relative to the dataset.
        differences: Modules that run other kernels than in the usual group; none for that group itself.
    """

    traces: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All traces of a dataset, the usual group first, then by size.

    Attributes:
        groups: The groups.
        modules: How many (phase, module) pairs there are in any trace.
    """

    groups: tuple[TraceGroup, ...]
    modules: int


def group_traces(folder: Path) -> Fleet:
    """Group the traces of a dataset.

    Raises:
        TracediffError: There is no dataset, pyarrow is missing, or a file is damaged.
    """
    files = sorted(folder.glob(f"trace=*/{FILE}")) if folder.is_dir() else []
    if not files:
        raise TracediffError(f"{folder} holds no dataset", "make one with: tracediff ingest TRACES --out DIR")
    by_kernels: dict[frozenset[tuple[RangeName, KernelNames]], list[str]] = {}
    known: dict[Any, Any] = {}  # equal names and sequences are held once, however many traces have them
    for file in files:
        kernels = frozenset((place, known.setdefault(names, names)) for place, names in _kernels_of(file).items())
        name = read_description(file).get("name")
        by_kernels.setdefault(known.setdefault(kernels, kernels), []).append(
            name if isinstance(name, str) else file.parent.name.removeprefix("trace=")
        )
    ordered = sorted(by_kernels.items(), key=lambda item: (-len(item[1]), item[1]))
    usual = dict(ordered[0][0])
    groups = tuple(
        TraceGroup(traces=tuple(traces), differences=_differences(usual, dict(kernels))) for kernels, traces in ordered
    )
    places = {place for kernels in by_kernels for place, _ in kernels}
    return Fleet(groups=groups, modules=len(places))


def _kernels_of(file: Path) -> dict[RangeName, KernelNames]:
    """Return the sequence of kernel names of each (phase, module) in the last iteration of its phase."""
    columns = read_sequence(file)
    phase, module, name, iteration = columns.phase, columns.module, columns.name, columns.iteration
    last = np.full(len(phase.values), np.iinfo(np.int64).min, dtype=np.int64)
    np.maximum.at(last, phase.codes, iteration)
    kept = np.flatnonzero(iteration == last[phase.codes])
    place = phase.codes[kept] * len(module.values) + module.codes[kept]
    order = np.argsort(place, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(place[order]) != 0]).tolist()
    result: dict[RangeName, KernelNames] = {}
    for begin, end in zip(first, [*first[1:], len(order)], strict=True):
        rows = kept[order[begin:end]]
        where = phase.values[phase.codes[rows[0]]], module.values[module.codes[rows[0]]]
        result[where] = tuple(name.values[code] or "" for code in name.codes[rows].tolist())
    return result


def _differences(usual: dict[RangeName, KernelNames], here: dict[RangeName, KernelNames]) -> tuple[Difference, ...]:
    return tuple(
        Difference(phase=place[0], module=place[1], usual=usual.get(place, ()), here=here.get(place, ()))
        for place in sorted(usual.keys() | here.keys(), key=lambda place: (place[0] or "", place[1] or ""))
        if usual.get(place, ()) != here.get(place, ())
    )
