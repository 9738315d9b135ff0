"""Compare two kernel tables: match modules by path and phase, align their kernels, judge every change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from tracediff.diff.align import align
from tracediff.diff.comparable import comparability_warnings
from tracediff.diff.pair_names import pair_names
from tracediff.diff.result import Kernel, Row, Side, TraceDiff
from tracediff.diff.select import select
from tracediff.diff.selection import Selection
from tracediff.diff.spellings import same_kernels
from tracediff.diff.split_k import infer
from tracediff.diff.verdict import judge_row
from tracediff.trace import KernelTable, RangeKey
from tracediff.trace.algorithm import Algorithm, parse_algorithm
from tracediff.trace.table import Int64

KernelsByRange = dict[RangeKey, tuple[Kernel, ...]]


def diff_tables(a: KernelTable, b: KernelTable, phases: Collection[str] = ()) -> TraceDiff:
    """Compare one iteration of every phase of two traces.

    Args:
        a, b: The kernel tables; `a` is the reference.
        phases: Only these phases; all when empty.

    Raises:
        TracediffError: A named phase is in neither trace.
    """
    b = pair_names(a, b)
    selected_a, selected_b = select([a, b], phases)
    kernels_a, kernels_b = kernels_by_range(a, selected_a), kernels_by_range(b, selected_b, same_kernels(a, b))
    dtypes = a.info.dtype, b.info.dtype
    rows = tuple(
        _row(key, kernels_a.get(key, ()), kernels_b.get(key, ()), dtypes) for key in _run_order(kernels_a, kernels_b)
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
    for excerpt in selection.excerpts:
        order = excerpt.kernels[np.argsort(table.key[excerpt.kernels], kind="stable")]
        codes = table.key[order]
        kernels = _kernels(table, order, algorithms, spellings)
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(codes)], strict=True):
            key = replace(table.keys[codes[start]], phase=excerpt.phase)
            key = key if excerpt.module is None else replace(key, module=excerpt.module)
            result[key] = infer(kernels[start:end], table.info.sm_count)
    return result


def _kernels(
    table: KernelTable, order: Int64, algorithms: list[Algorithm], spellings: list[str | None]
) -> list[Kernel]:
    """Return one object per kernel, in the order given."""
    columns = [
        table.name[order].tolist(),
        table.algorithm[order].tolist(),
        table.grid[order].tolist(),
        table.block[order].tolist(),
        table.registers[order].tolist(),
        table.shared_memory_bytes[order].tolist(),
        table.duration_ns[order].tolist(),
    ]
    return [
        Kernel(
            parsed=table.parsed[name],
            split_k=None,
            split_k_source=None,
            grid=(grid[0], grid[1], grid[2]),
            block=(block[0], block[1], block[2]),
            registers=registers,
            shared_memory_bytes=shared_memory,
            duration_ns=duration,
            algorithm=algorithms[algorithm] if algorithm >= 0 else None,
            spelled=spellings[name],
        )
        for name, algorithm, grid, block, registers, shared_memory, duration in zip(*columns, strict=True)
    ]


def side_of(table: KernelTable, selection: Selection, kernels: KernelsByRange) -> Side:
    """Return what a report says of one trace as a whole."""
    every = [kernel for each in kernels.values() for kernel in each]
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
    """Return the keys of both in the order of the run: those of b alone stand after their predecessor in b."""
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


def _row(key: RangeKey, a: tuple[Kernel, ...], b: tuple[Kernel, ...], dtypes: tuple[str | None, str | None]) -> Row:
    pairs, verdict, reason = judge_row(align(a, b), dtypes)
    return Row(
        phase=key.phase,
        layer=key.layer,
        module=key.module,
        a=a,
        b=b,
        pairs=pairs,
        verdict=verdict,
        reason=reason,
    )
