"""Kernels in no module: where they repeat in blocks, steps and blocks take the place of the missing ranges.

A program may have no ranges, one around everything, only operators' (PyTorch's emit_nvtx), or replay CUDA graphs that
were captured before the recording. A step found in a phase is an execution of that phase, one outside every range an
execution of `step`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracediff.kernels import KernelName
from tracediff.text import count
from tracediff.trace.columns import Codes
from tracediff.trace.naming import is_operator
from tracediff.trace.ranges import key_of
from tracediff.trace.table import Bool, Int32, Int64, RangeKey

if TYPE_CHECKING:
    from tracediff.trace.blocks import Blocks

STEP = "step"
_MOST_THREADS = _MOST_PROCESSES = 1 << 32
#: So many products and attentions must be in no module, and such a share of all, for blocks to be looked for.
_FEWEST, _LEAST_SHARE = 6, 0.2
#: So much of a step's blocks must be in one execution of a phase (other ranges may be around a kernel here and there).
_IN_ONE_EXECUTION = 0.8


class Attributed(Struct, frozen=True, kw_only=True):
    """Kernels in the order of launch, and the ranges they were given to.

    Attributes:
        keys: Distinct keys.
        key: Code of each kernel's key.
        iteration: Which occurrence of its phase, -1 outside every range.
        around_captures: Codes of keys whose module is only the range around the capture of a whole CUDA graph.
        notes: What was found, one sentence each.
        placed: Kernels that were placed by repetition.
    """

    keys: tuple[RangeKey, ...]
    key: Int32
    iteration: Int32
    around_captures: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    placed: int = 0


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
    kernels = _in_no_module(given)
    if not _compute_enough(parsed, columns["name"], kernels):
        return given
    unnamed = _unnamed(given, kernels)
    blocks = _blocks_of(unnamed, parsed, columns, launch_ns, thread)
    if blocks is None:
        return given
    taken = _in_execution_of_its_step(blocks, unnamed.execution)
    return _given_to_blocks(given, unnamed, blocks, taken, columns["process"]) if len(taken) else given


class _Unnamed(Struct, frozen=True, kw_only=True):
    """Kernels in no module.

    Attributes:
        kernels: Their indices.
        phases: Names of the phases they are in; outside every range `STEP`.
        phase: Code of each one's phase.
        is_outside: Whether each is outside every range.
        iteration: Which occurrence of its phase, -1 outside every range.
        execution: A number for that occurrence of that phase, -1 outside every range.
    """

    kernels: Int64
    phases: list[str]
    phase: Int64
    is_outside: Bool
    iteration: Int32
    execution: Int64


def _in_no_module(given: Attributed) -> Int64:
    """Return the kernels in no module, in an operator's range, or in that of the capture of a whole CUDA graph."""
    # A module is in every step's keys, and looked at once.
    unnamed = {module for module in {key.module for key in given.keys} if not module or is_operator(module)}
    without_module = np.array(
        [
            key.module in unnamed or (code in given.around_captures and key.layer is None)
            for code, key in enumerate(given.keys)
        ],
        dtype=np.bool_,
    )
    return np.flatnonzero(without_module[given.key])


def _unnamed(given: Attributed, kernels: Int64) -> _Unnamed:
    names = [STEP if key.phase is None else key.phase for key in given.keys]
    phases = list(dict.fromkeys(names))
    phase = np.array([phases.index(name) for name in names], dtype=np.int64)[given.key[kernels]]
    is_outside = np.array([key.phase is None for key in given.keys], dtype=np.bool_)[given.key[kernels]]
    iteration = given.iteration[kernels]
    iterations = int(iteration.max(initial=0)) + 1
    return _Unnamed(
        kernels=kernels,
        phases=phases,
        phase=phase,
        is_outside=is_outside,
        iteration=iteration,
        execution=np.where(is_outside, np.int64(-1), phase * iterations + iteration),
    )


def _blocks_of(
    unnamed: _Unnamed,
    parsed: tuple[KernelName, ...],
    columns: dict[str, npt.NDArray[Any]],
    launch_ns: Int64,
    thread: Int32,
) -> Blocks | None:
    """Return the blocks in which the kernels repeat, None where they do not."""
    from tracediff.trace.blocks import find_blocks  # noqa: PLC0415 -- a trace with ranges need not look for blocks

    kernels = unnamed.kernels
    return find_blocks(
        parsed,
        columns["name"][kernels],
        (columns["grid"][kernels], columns["block"][kernels]),
        np.r_[0, np.cumsum(np.diff(launch_ns[kernels]) != 0)],
        unnamed.execution,
        # Kernels without a launch have no thread: those of one process are then a sequence.
        thread[kernels] + columns["process"][kernels].astype(np.int64) * _MOST_THREADS,
    )


def _given_to_blocks(given: Attributed, unnamed: _Unnamed, blocks: Blocks, taken: Int64, process: Int32) -> Attributed:
    """Return the kernels with those that were taken given to their blocks.

    Args:
        given: All kernels.
        unnamed: Those in no module.
        blocks: What these repeat in.
        taken: Those that blocks take, as indices into `unnamed`.
        process: Code of each kernel's process.
    """
    kernels, width, distinct = unnamed.kernels, len(blocks.modules), Codes()
    code = distinct.of(unnamed.phase[taken] * width + blocks.module[taken])
    key, iteration = given.key.copy(), given.iteration.copy()
    key[kernels[taken]] = code + len(given.keys)
    # Phases of each process on their own: ranks run the same phases at the same time.
    which = unnamed.phase * _MOST_PROCESSES + process[kernels]
    is_taken = np.zeros(len(kernels), dtype=np.bool_)
    is_taken[taken] = True
    which[unnamed.is_outside & ~is_taken] = -1
    iteration[kernels] = _count_steps(blocks.step, is_taken, which, unnamed.iteration)
    added = [key_of(unnamed.phases[each // width], blocks.modules[each % width]) for each in distinct.values]
    return Attributed(
        keys=(*given.keys, *added),
        key=key,
        iteration=iteration,
        notes=(*given.notes, _note(blocks, len(kernels), len(taken))),
        placed=len(taken),
    )


def _compute_enough(parsed: tuple[KernelName, ...], name: Int32, kernels: Int64) -> bool:
    """Return whether kernels do a good part of the trace's computing: they are not what is left beside modules."""
    roles = [each.role for each in parsed]
    computes = np.array([role in ("gemm", "attention") for role in roles], dtype=np.bool_)[name]
    count = int(computes[kernels].sum())
    return count >= _FEWEST and count >= _LEAST_SHARE * int(computes.sum())


def _in_execution_of_its_step(blocks: Blocks, execution: Int64) -> Int64:
    """Return the kernels of steps whose blocks are nearly all in one execution of a phase, and which are in it, too."""
    step_of_block = blocks.step[blocks.in_block]
    execution_of_block = execution[blocks.in_block]
    # Sorted by step, then execution: the middle one of a step is the execution that most of it is in, if there is one.
    order = np.lexsort((execution_of_block, step_of_block))
    first = np.searchsorted(step_of_block[order], np.arange(blocks.steps + 1))
    usual = execution_of_block[order[(first[:-1] + first[1:]) // 2]]
    agree = np.bincount(step_of_block, weights=execution_of_block == usual[step_of_block], minlength=blocks.steps)
    whole = agree >= _IN_ONE_EXECUTION * np.diff(first)
    inside = np.flatnonzero(blocks.step >= 0)
    step = blocks.step[inside]
    taken: Int64 = inside[whole[step] & (execution[inside] == usual[step])]
    return taken


def _count_steps(step: Int32, is_taken: npt.NDArray[np.bool_], which: Int64, iteration: Int32) -> Int32:
    """Return the iterations: steps are counted in each phase that has more than one in some execution.

    Args:
        step: Number of each kernel's step.
        is_taken: Whether each was placed in its step.
        which: A number for the phase and process of each kernel, -1 for kernels that stay outside.
        iteration: Their iterations by ranges, -1 outside.
    """
    result = iteration.copy()
    for each in np.unique(which[is_taken]).tolist():
        mine = np.flatnonzero(which == each)
        placed = is_taken[mine]
        steps, first = np.unique(step[mine][placed], return_index=True)
        executions = iteration[mine][placed][first]
        if executions.min() >= 0 and len(np.unique(executions)) == len(executions):
            continue
        # A kernel of the phase in no step belongs to the step before it, or to the first.
        before = np.maximum(np.searchsorted(mine[placed], mine, side="right") - 1, 0)
        result[mine] = np.searchsorted(steps, step[mine][placed])[before]
    return result


def _note(blocks: Blocks, kernels: int, placed: int) -> str:
    layers = f" of up to {blocks.layers} blocks" if blocks.layers else ""
    return (
        f"{placed:,} of {kernels:,} kernels in no module were placed by repetition: "
        f"{count(blocks.steps, 'step')}{layers}, named by their products (gemm1, gemm2, …)"
    )
