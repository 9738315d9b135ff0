"""Compare a capture's phases with the steps of a recorded program that are the same forwards.

`tracediff capture` names its forwards `prefill` and `decode[i]`. `tracediff record` calls every forward of a root
module by the module's class (`LlamaForCausalLM`) and writes its shape, batch × tokens. Where one trace is of either
kind and the root runs the modules that the capture ran, its steps of many tokens are the prefill, and those of one
token per row are the decode steps, counted from the prefill before them. If the capture says its batch and tokens, they
choose among several shapes. Where more than one shape fits, nothing is renamed, and a note says how to choose.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from tracediff.text import shorten
from tracediff.trace import KernelTable, RangeKey
from tracediff.trace.ranges import OWN_PHASE
from tracediff.trace.shapes import shape_text
from tracediff.trace.table import Int64

PREFILL, DECODE = "prefill", "decode"
_HALF = 32
_SHOWN = 4


def pair_steps(a: KernelTable, b: KernelTable) -> tuple[KernelTable, KernelTable]:
    """Return both traces; the steps of the one that was recorded are named as the phases of the one that was captured.

    Args:
        a, b: The traces. Two of one kind are returned as they are.
    """
    if _has_phases(a) and b.shapes:
        return a, _named_as_phases(b, a)
    if _has_phases(b) and a.shapes:
        return _named_as_phases(a, b), b
    return a, b


class _Step(NamedTuple):
    """A forward of the root: which one it was of its phase, its shape as recorded, and its kernels."""

    iteration: int
    shape: int
    kernels: Int64


class _Shapes(NamedTuple):
    """Shapes, as recorded, that a prefill and a decode step may have."""

    prefill: list[int]
    decode: list[int]


def _has_phases(table: KernelTable) -> bool:
    return not table.shapes and any(_is_prefill_or_decode(key.phase) for key in table.keys)


def _is_prefill_or_decode(phase: str | None) -> bool:
    return phase is not None and OWN_PHASE.fullmatch(phase) is not None


def _named_as_phases(recorded: KernelTable, captured: KernelTable) -> KernelTable:
    modules = _products(captured, {key.phase for key in captured.keys if _is_prefill_or_decode(key.phase)})
    roots = [
        phase
        for phase in dict.fromkeys(key.phase for key in recorded.keys)
        if phase is not None and _alike(_products(recorded, {phase}), modules)
    ]
    steps = {root: found for root in roots if (found := _steps(recorded, root))}
    if not steps:
        return recorded
    if len(steps) > 1:
        names = ", ".join(shorten(root, 40) for root in list(steps)[:_SHOWN])
        return _with_note(recorded, f"not compared with {PREFILL} and {DECODE}: {names} run the same modules")
    (root, of_root), *_ = steps.items()
    shapes = _choose(Counter(step.shape for step in of_root), captured)
    if len(shapes.prefill) > 1 or len(shapes.decode) > 1:
        several = shapes.prefill if len(shapes.prefill) > 1 else shapes.decode
        texts = [shape_text(shape) for shape in several[:_SHOWN]]
        return _with_note(
            recorded,
            f"{shorten(root, 40)} is not compared with {PREFILL} and {DECODE}: it has steps of {', '.join(texts)}; "
            f"--between SHAPE SHAPE chooses (in the first trace and in the second)",
        )
    return _renamed(recorded, root, of_root, shapes)


def _products(table: KernelTable, phases: set[str | None]) -> frozenset[str]:
    """Return the modules of some phases that run a GEMM."""
    is_gemm = np.array([parsed.role == "gemm" for parsed in table.parsed], dtype=np.bool_)[table.name]
    keys = (table.keys[code] for code in np.unique(table.key[is_gemm]).tolist())
    return frozenset(key.module for key in keys if key.module and key.phase in phases)


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Return whether modules are the same, or most of them with none besides."""
    fewer, more = sorted((one, other), key=len)
    return fewer <= more and len(fewer) > 1 and 2 * len(fewer) > len(more)


def _steps(table: KernelTable, root: str) -> list[_Step]:
    """Return the steps of a root in the order of the run; none where the shape of one is not known."""
    in_root = np.array([key.phase == root for key in table.keys], dtype=np.bool_)[table.key]
    kernels = np.flatnonzero(in_root)
    iteration = table.iteration[kernels]
    order = np.argsort(iteration, kind="stable")
    kernels, iteration = kernels[order], iteration[order]
    parts = np.split(kernels, np.flatnonzero(np.diff(iteration)) + 1)
    steps = []
    for part in parts:
        codes = np.unique(table.shape[part]).tolist()
        if len(codes) != 1 or codes[0] < 0:
            return []
        steps.append(_Step(int(table.iteration[part[0]]), table.shapes[codes[0]], part))
    return steps


def _choose(there: Counter[int], captured: KernelTable) -> _Shapes:
    """Return which shapes of a root's steps may be the prefill and the decode steps; of each kind one at best."""
    batch, tokens = captured.info.batch, captured.info.tokens
    laid_end_to_end = all(shape >> _HALF == 0 for shape in there)
    if laid_end_to_end:
        largest = max(there)
        found = _Shapes([largest], [shape for shape in there if shape != largest])
        exact = _Shapes([batch * tokens], [batch]) if batch and tokens else None
    else:
        found = _Shapes(
            [shape for shape in there if _tokens(shape) > 1], [shape for shape in there if _tokens(shape) == 1]
        )
        exact = _Shapes([batch << _HALF | tokens], [batch << _HALF | 1]) if batch and tokens else None
    if exact is not None and exact.prefill != exact.decode and exact.prefill[0] in there:
        return _Shapes(exact.prefill, [shape for shape in exact.decode if shape in there])
    if len(found.prefill) == 1 and not laid_end_to_end:
        of_batch = [shape for shape in found.decode if shape >> _HALF == found.prefill[0] >> _HALF]
        return _Shapes(found.prefill, of_batch)
    return found


def _tokens(shape: int) -> int:
    return shape & (1 << _HALF) - 1


def _renamed(table: KernelTable, root: str, steps: list[_Step], shapes: _Shapes) -> KernelTable:
    """Return the table with the steps of the chosen shapes as phases of their own, counted from each prefill."""
    keys, key, iteration = list(table.keys), table.key.copy(), table.iteration.copy()
    codes: dict[RangeKey, int] = {}
    times = Counter[str]()
    since_prefill: int | None = None
    for step in steps:
        if step.shape in shapes.prefill:
            phase, since_prefill = PREFILL, 0
        elif step.shape in shapes.decode and since_prefill is not None:
            phase, since_prefill = f"{DECODE}[{since_prefill}]", since_prefill + 1
        else:
            since_prefill = None
            continue
        iteration[step.kernels] = times[phase]
        times[phase] += 1
        for code in np.unique(table.key[step.kernels]).tolist():
            renamed = replace(table.keys[code], phase=phase)
            if renamed not in codes:
                codes[renamed] = len(keys)
                keys.append(renamed)
            mine = step.kernels[table.key[step.kernels] == code]
            key[mine] = codes[renamed]
    if not times:
        return table
    told = [f"{shape_text(shape)} as {PREFILL}" for shape in shapes.prefill]
    if len(times) > 1:
        told += [f"{shape_text(shape)} as {DECODE}" for shape in shapes.decode]
    note = f"steps compared as phases of the other trace: {shorten(root, 40)} of {', of '.join(told)}"
    return _with_note(_in_launch_order(replace(table, keys=tuple(keys), key=key, iteration=iteration)), note)


def _in_launch_order(table: KernelTable) -> KernelTable:
    """Return the table with the keys that kernels have, in the order of their first launch."""
    used, first, codes = np.unique(table.key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(used), dtype=np.int32)
    place[order] = np.arange(len(used), dtype=np.int32)
    return replace(table, keys=tuple(table.keys[used[index]] for index in order), key=place[codes.reshape(-1)])


def _with_note(table: KernelTable, note: str) -> KernelTable:
    return replace(table, notes=(*table.notes, note))
