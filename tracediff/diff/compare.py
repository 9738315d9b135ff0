"""Compare two kernel tables: match modules by path and phase, align their kernels, judge every change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from tracediff.diff.align import align
from tracediff.diff.comparable import comparability_warnings
from tracediff.diff.pair_names import pair_names
from tracediff.diff.pair_steps import pair_steps
from tracediff.diff.result import Kernel, Pair, Row, Side, TraceDiff, Verdict
from tracediff.diff.select import select
from tracediff.diff.selection import Selection
from tracediff.diff.spellings import same_kernels
from tracediff.diff.split_k import infer
from tracediff.diff.verdict import judge_row
from tracediff.trace import KernelTable, RangeKey
from tracediff.trace.algorithm import Algorithm, parse_algorithm
from tracediff.trace.table import Int64


class Launched(NamedTuple):
    """What a (phase, module) launched.

    Attributes:
        kernels: In launch order.
        kind: A number that modules of one trace share where they launch the same kernels in the same way, as the
            blocks of a model do.
    """

    kernels: tuple[Kernel, ...] = ()
    kind: int | None = None


NOTHING = Launched()
KernelsByRange = dict[RangeKey, Launched]


def diff_tables(a: KernelTable, b: KernelTable, phases: Collection[str] = ()) -> TraceDiff:
    """Compare one iteration of every phase of two traces.

    Args:
        a, b: The kernel tables; `a` is the reference.
        phases: Only the rows of these phases; all when empty. The answer is that of the whole run all the same.

    Raises:
        TracediffError: A named phase is in neither trace.
    """
    a, b = pair_steps(a, b)
    b = pair_names(a, b)
    if not phases:
        return _compared(a, b, ())
    return replace(_compared(a, b, phases), whole=_compared(a, b, ()))


def _compared(a: KernelTable, b: KernelTable, phases: Collection[str]) -> TraceDiff:
    selected_a, selected_b = select([a, b], phases)
    kernels_a, kernels_b = kernels_by_range(a, selected_a), kernels_by_range(b, selected_b, same_kernels(a, b))
    judge = _Judge((a.info.dtype, b.info.dtype))
    rows = tuple(
        judge.row(key, kernels_a.get(key, NOTHING), kernels_b.get(key, NOTHING))
        for key in _run_order(kernels_a, kernels_b)
    )
    return TraceDiff(
        a=side_of(a, selected_a, kernels_a),
        b=side_of(b, selected_b, kernels_b),
        rows=rows,
        warnings=comparability_warnings(a, b),
    )


def kernels_by_range(
    table: KernelTable, selection: Selection, spelled: Mapping[str, str] | None = None
) -> KernelsByRange:
    """Return the selected kernels of each (phase, module), in launch order, modules in order of first launch.

    Args:
        table: A trace.
        selection: What of it.
        spelled: How the other trace spells some of its names.
    """
    spellings = [(spelled or {}).get(name) for name in table.names]
    algorithms = [parse_algorithm(text) for text in table.algorithms]
    result: KernelsByRange = {}
    kinds: dict[tuple[_Launch, ...], Launched] = {}
    for excerpt in selection.excerpts:
        # Codes of keys are in the order of the whole trace; an earlier execution may have run the modules otherwise.
        _, first, module = np.unique(table.key[excerpt.kernels], return_index=True, return_inverse=True)
        order = excerpt.kernels[np.argsort(first[module], kind="stable")]
        codes = table.key[order]
        launches = _launches(table, order)
        durations = table.duration_ns[order].tolist()
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]).tolist()
        for start, end in pairwise([*starts, len(codes)]):
            launched = tuple(launches[start:end])
            if launched not in kinds:
                kernels = [_kernel(table, launch, algorithms, spellings) for launch in launched]
                kinds[launched] = Launched(infer(kernels, table.info.sm_count), len(kinds))
            alike, kind = kinds[launched]
            key = replace(table.keys[codes[start]], phase=excerpt.phase)
            key = key if excerpt.module is None else replace(key, module=excerpt.module)
            result[key] = Launched(
                tuple(
                    replace(kernel, duration_ns=duration)
                    for kernel, duration in zip(alike, durations[start:end], strict=True)
                ),
                kind,
            )
    return result


#: Name, algorithm, grid, block, registers and shared memory of a kernel: columns of the table.
_Launch = tuple[int, int, tuple[int, int, int], tuple[int, int, int], int, int]


def _launches(table: KernelTable, order: Int64) -> list[_Launch]:
    """Return all that the table says of kernels but their time, in the order given."""
    columns = (
        table.name[order].tolist(),
        table.algorithm[order].tolist(),
        zip(*table.grid[order].T.tolist(), strict=True),
        zip(*table.block[order].T.tolist(), strict=True),
        table.registers[order].tolist(),
        table.shared_memory_bytes[order].tolist(),
    )
    return list(zip(*columns, strict=True))


def _kernel(table: KernelTable, launch: _Launch, algorithms: list[Algorithm], spellings: list[str | None]) -> Kernel:
    """Return a kernel whose time is left open."""
    name, algorithm, grid, block, registers, shared_memory = launch
    return Kernel(
        parsed=table.parsed[name],
        split_k=None,
        split_k_source=None,
        grid=grid,
        block=block,
        registers=registers,
        shared_memory_bytes=shared_memory,
        duration_ns=0,
        algorithm=algorithms[algorithm] if algorithm >= 0 else None,
        spelled=spellings[name],
    )


def side_of(table: KernelTable, selection: Selection, kernels: KernelsByRange) -> Side:
    """Return what a report says of one trace as a whole."""
    every = [kernel for each in kernels.values() for kernel in each.kernels]
    return Side(
        info=table.info,
        coverage=table.coverage,
        kernels=len(every),
        splitk_reduce=sum(kernel.parsed.role == "splitk_reduce" for kernel in every),
        duration_ns=sum(kernel.duration_ns for kernel in every),
        notes=(*table.notes, *selection.notes),
        executions=selection.executions,
        not_compared=selection.not_compared,
    )


def _run_order(a: KernelsByRange, b: KernelsByRange) -> list[RangeKey]:
    """Return the keys of both in the order of the run: those of b alone follow their predecessor in b."""
    followers: dict[RangeKey | None, list[RangeKey]] = {}
    previous: RangeKey | None = None
    for key in b:
        if key in a:
            previous = key
        else:
            followers.setdefault(previous, []).append(key)
    result = list(followers.get(None, []))
    for key in a:
        result += [key, *followers.get(key, [])]
    return result


class _Judge:
    """Judges rows; those that launch the same on both sides are judged once.

    Args:
        dtypes: Element types that the traces state for themselves.
    """

    def __init__(self, dtypes: tuple[str | None, str | None]) -> None:
        self._dtypes = dtypes
        self._known: dict[tuple[int | None, int | None], tuple[tuple[Pair, ...], Verdict, str]] = {}

    def row(self, key: RangeKey, a: Launched, b: Launched) -> Row:
        """Return the row of what both traces launched in one (phase, module)."""
        kinds = a.kind, b.kind
        if kinds not in self._known:
            self._known[kinds] = judge_row(align(a.kernels, b.kernels), self._dtypes)
        pairs, verdict, reason = self._known[kinds]
        return Row(
            phase=key.phase,
            layer=key.layer,
            module=key.module,
            a=a.kernels,
            b=b.kernels,
            pairs=tuple(_pair_of(pair, a.kernels, b.kernels) for pair in pairs),
            verdict=verdict,
            reason=reason,
        )


def _pair_of(pair: Pair, a: tuple[Kernel, ...], b: tuple[Kernel, ...]) -> Pair:
    """Return the pair at the same places of two other lists of kernels."""
    return replace(
        pair,
        a=None if pair.index_a is None else a[pair.index_a],
        b=None if pair.index_b is None else b[pair.index_b],
    )
