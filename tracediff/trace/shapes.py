"""The steps of one shape of a trace, to be compared with those of another."""

from __future__ import annotations

from collections import Counter

import numpy as np
from msgspec.structs import replace

from tracediff.errors import TracediffError
from tracediff.trace.part import take
from tracediff.trace.ranges import OWN_PHASE
from tracediff.trace.shape import Shape
from tracediff.trace.table import Bool, KernelTable

_SHOWN = 12


def steps_of_shape(table: KernelTable, shape: str) -> KernelTable:
    """Return the kernels of the steps of one shape.

    What runs beside the steps (sampling, ranges around several steps) is kept of the last step alone: there may be any
    number of steps.

    Args:
        table: The trace's kernel table.
        shape: As in `8x1`.

    Raises:
        TracediffError: The trace has no steps, or none of such a shape.
    """
    wanted = Shape.parse(shape)
    if not table.shapes:
        return _phases_of_shape(table, wanted)
    codes = [code for code, each in enumerate(table.shapes) if each == wanted]
    keep = np.isin(table.shape, codes)
    if not keep.any():
        kernels = Counter(table.shape[table.shape >= 0].tolist())
        there = ", ".join(str(table.shapes[code]) for code, _ in kernels.most_common(_SHOWN))
        raise TracediffError(f"{table.info.path} has no step of shape {wanted}", f"it has {there}")
    return _of_shape(table, keep & ~_beside_earlier_steps(table, keep), wanted)


def _of_shape(table: KernelTable, keep: Bool, shape: Shape) -> KernelTable:
    info = replace(
        table.info,
        path=f"{table.info.path} [{shape}]",
        shape=str(shape),
        batch=None if shape.end_to_end else shape.batch,
        tokens=None if shape.end_to_end else shape.tokens,
    )
    return replace(take(table, keep), info=info)


def _phases_of_shape(table: KernelTable, shape: Shape) -> KernelTable:
    """Return the prefill or the decode steps of a capture, whose manifest says batch and tokens."""
    batch, tokens = table.info.batch, table.info.tokens
    if batch is None or tokens is None:
        raise TracediffError(
            f"{table.info.path} does not say the shapes of its steps", "record it with: tracediff record -- COMMAND"
        )
    shapes: dict[str | None, Shape] = {
        key.phase: Shape(batch, tokens if key.phase == "prefill" else 1)
        for key in table.keys
        if key.phase is not None and OWN_PHASE.fullmatch(key.phase)
    }
    keep = np.array([shapes.get(key.phase) == shape for key in table.keys], dtype=np.bool_)[table.key]
    if not keep.any():
        there = ", ".join(map(str, sorted(set(shapes.values()))))
        raise TracediffError(f"{table.info.path} has no step of shape {shape}", f"it has {there}")
    return _of_shape(table, keep, shape)


def _beside_earlier_steps(table: KernelTable, wanted: Bool) -> Bool:
    """Return which of some steps' kernels are in another phase than the steps, and belong to any but the last step."""
    phases = list(dict.fromkeys(key.phase for key in table.keys))
    phase = np.array([phases.index(key.phase) for key in table.keys], dtype=np.int64)[table.key]
    kernels = Counter(phase[wanted].tolist())
    most = max(kernels, key=lambda code: (phases[code] is not None, kernels[code]))
    # Steps that were named as a capture's phases are of several.
    own = {code for code, text in enumerate(phases) if text is not None and OWN_PHASE.fullmatch(text)}
    steps = list(own if most in own else {most})
    beside = np.zeros(len(table), dtype=np.bool_)
    for process in np.unique(table.process[wanted]).tolist():
        mine = np.flatnonzero(wanted & (table.process == process))
        in_step = np.isin(phase[mine], steps)
        if in_step.any():
            last = mine[in_step][-1]
            of_last = in_step & (table.iteration[mine] == table.iteration[last]) & (phase[mine] == phase[last])
            last_step = np.flatnonzero(of_last)[0]
            beside[mine[:last_step]] = ~in_step[:last_step]
    return beside
