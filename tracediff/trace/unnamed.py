"""Kernels in no module: where they repeat in blocks, steps and blocks stand for the ranges that are missing.

A program may have no ranges, one around everything, or replay CUDA graphs that were captured before the recording.
A step found in a phase is an execution of that phase, one outside every range an execution of `forward`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracediff.kernels import KernelName
from tracediff.trace.blocks import Blocks, find_blocks
from tracediff.trace.columns import Codes
from tracediff.trace.ranges import key_of
from tracediff.trace.table import Int32, Int64, RangeKey

FORWARD = "forward"
#: So many products and attentions must be in no module, and such a share of all, for blocks to be looked for.
_FEWEST, _LEAST_SHARE = 6, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """Kernels in the order of launch, and the ranges they were given to.

    Attributes:
        keys: Distinct keys.
        key: Code of each kernel's key.
        iteration: Which occurrence of its phase, -1 outside every range.
        notes: What was found, one sentence each.
    """

    keys: tuple[RangeKey, ...]
    key: Int32
    iteration: Int32
    notes: tuple[str, ...] = ()


def place_unnamed(
    given: Attributed,
    parsed: tuple[KernelName, ...],
    columns: dict[str, npt.NDArray[Any]],
    launch_ns: Int64,
    thread: Int32,
) -> Attributed:
    """Give kernels that are in no module to the blocks they repeat in.

    Args:
        given: The kernels and what they were given to by ranges.
        parsed: What each distinct name says.
        columns: Columns of the kernel table.
        launch_ns: Start of each kernel's launch.
        thread: Code of the thread that launched it.
    """
    without_module = np.array([not key.module for key in given.keys], dtype=np.bool_)
    kernels = np.flatnonzero(without_module[given.key])
    if not _compute_enough(parsed, columns["name"], kernels):
        return given
    launch = (columns["grid"][kernels], columns["block"][kernels])
    group = np.r_[0, np.cumsum(np.diff(launch_ns[kernels]) != 0)] if len(kernels) else launch_ns[:0]
    blocks = find_blocks(parsed, columns["name"][kernels], launch, group, thread[kernels])
    if blocks is None:
        return given
    phases = Codes()
    names = [key.phase for key in given.keys]
    known = list(dict.fromkeys([*names, None, FORWARD]))
    phase_of_key = np.array([known.index(FORWARD if name is None else name) for name in names], dtype=np.int64)
    is_outside = np.array([name is None for name in names], dtype=np.bool_)[given.key[kernels]]
    phase = phase_of_key[given.key[kernels]]
    taken = _in_phase_of_its_step(blocks, phase)
    width = len(blocks.modules)
    code = phases.of((phase[taken] * width + blocks.module[taken]).astype(np.int64))
    key, iteration = given.key.copy(), given.iteration.copy()
    key[kernels[taken]] = code + len(given.keys)
    process = columns["process"][kernels]
    iteration[kernels] = _iterations(blocks, taken, phase, is_outside, process, iteration[kernels])
    keys = (*given.keys, *(key_of(known[each // width], blocks.modules[each % width]) for each in phases.values))
    return Attributed(keys=keys, key=key, iteration=iteration, notes=(*given.notes, _note(blocks, len(kernels), taken)))


def _compute_enough(parsed: tuple[KernelName, ...], name: Int32, kernels: Int64) -> bool:
    """Return whether kernels do a good part of the trace's computing: they are not what is left beside modules."""
    roles = [each.role for each in parsed]
    computes = np.array([role in ("gemm", "attention") for role in roles], dtype=np.bool_)[name]
    count = int(computes[kernels].sum())
    return count >= _FEWEST and count >= _LEAST_SHARE * int(computes.sum())


def _in_phase_of_its_step(blocks: Blocks, phase: Int64) -> Int64:
    """Return the kernels that stand in a step and in the phase of its blocks."""
    inside = np.flatnonzero(blocks.step >= 0)
    in_block = inside[np.array([each.startswith("blocks.") for each in blocks.modules])[blocks.module[inside]]]
    phase_of_step = np.zeros(blocks.steps, dtype=np.int64)
    phase_of_step[blocks.step[in_block]] = phase[in_block]
    same: Int64 = inside[phase[inside] == phase_of_step[blocks.step[inside]]]
    return same


def _iterations(
    blocks: Blocks, taken: Int64, phase: Int64, is_outside: npt.NDArray[np.bool_], process: Int32, iteration: Int32
) -> Int32:
    """Count the steps of each phase; one that has at most one step in each of its executions keeps its numbers."""
    result, step = iteration.copy(), blocks.step
    # Phases of each process on their own: ranks run the same phases at the same time.
    which = phase * (int(process.max(initial=0)) + 1) + process
    is_taken = np.zeros(len(phase), dtype=np.bool_)
    is_taken[taken] = True
    for each in np.unique(which[taken]).tolist():
        mine = np.flatnonzero((which == each) & ~(is_outside & (step < 0)))
        of_step = is_taken[mine]
        first_of_step = np.unique(step[mine][of_step], return_index=True)
        steps, executions = first_of_step[0], iteration[mine][of_step][first_of_step[1]]
        if executions.min() >= 0 and len(np.unique(executions)) == len(executions):
            continue
        # A kernel of the phase in no step belongs to the step before it, or to the first.
        place = np.searchsorted(mine[of_step], mine, side="right") - 1
        number = np.searchsorted(steps, step[mine][of_step])[np.maximum(place, 0)]
        result[mine] = number
    return result


def _note(blocks: Blocks, kernels: int, taken: Int64) -> str:
    layers = "" if blocks.layers == 1 else f" of up to {blocks.layers} blocks"
    return (
        f"{len(taken):,} of {kernels:,} kernels in no module were placed by repetition: "
        f"{blocks.steps:,} step{'' if blocks.steps == 1 else 's'}{layers}, named by their products (gemm1, gemm2, …)"
    )
