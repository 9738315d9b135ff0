"""Compare a capture's phases with the steps of a recorded program that are the same forwards.

`tracediff capture` names its forwards `prefill` and `decode[i]`. `tracediff record` calls every forward of a root
module by the module's class (`LlamaForCausalLM`) and writes its shape, batch × tokens. Where one trace is of either
kind and the root runs the modules that the capture ran, its steps of many tokens are the prefill, and those of one
token per row are the decode steps, counted from the prefill before them. If the capture says its batch and tokens, they
choose among several shapes. Where more than one shape fits, nothing is renamed, and a note says how to choose.

Servers lay the tokens of all requests end to end: a step's shape is then their number alone. A prefill of as many
requests as the decode step has tokens is that many times a prompt's.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from tracediff.text import shorten
from tracediff.trace import KernelTable, RangeKey
from tracediff.trace.ranges import OWN_PHASE, key_of
from tracediff.trace.shape import Shape
from tracediff.trace.shapes import steps_of_shape
from tracediff.trace.table import Int64, TraceInfo

PREFILL, DECODE = "prefill", "decode"
_SHOWN = 4


def pair_steps(
    a: KernelTable, b: KernelTable, shapes: tuple[str, str] | None = None
) -> tuple[KernelTable, KernelTable]:
    """Return both traces; the steps of the one that was recorded are named as the phases of the one that was captured.

    Args:
        a, b: The traces. Two of one kind are returned as they are, and so are those that were named before.
        shapes: The steps that the user compares, of `a` and of `b`; None: the traces say which.
    """
    wanted_a, wanted_b = shapes or (None, None)
    if _is_captured(a) and _is_recorded(b):
        return a, _named_as_phases(b, a, wanted_b, wanted_a)
    if _is_captured(b) and _is_recorded(a):
        return _named_as_phases(a, b, wanted_a, wanted_b), b
    return a, b


def between_traces(a: KernelTable, b: KernelTable, shapes: tuple[str, str]) -> tuple[KernelTable, KernelTable]:
    """Return the kernels of the steps of one shape of a trace, and those of another shape of another trace.

    Raises:
        TracediffError: One has no such steps.
    """
    a, b = pair_steps(a, b, shapes)
    return steps_of_shape(a, shapes[0]), steps_of_shape(b, shapes[1])


class _Step(NamedTuple):
    """A forward of the root: its process, its shape, and its kernels."""

    process: int
    shape: Shape
    kernels: Int64


class _Shapes(NamedTuple):
    """Shapes that a prefill and a decode step may have, and of what decode steps are counted from."""

    prefill: list[Shape]
    decode: list[Shape]
    before: list[Shape]


def _is_captured(table: KernelTable) -> bool:
    return not table.shapes and _has_phases(table)


def _is_recorded(table: KernelTable) -> bool:
    return bool(table.shapes) and not _has_phases(table)


def _has_phases(table: KernelTable) -> bool:
    return any(_is_prefill_or_decode(key.phase) for key in table.keys)


def _is_prefill_or_decode(phase: str | None) -> bool:
    return phase is not None and OWN_PHASE.fullmatch(phase) is not None


def _named_as_phases(recorded: KernelTable, captured: KernelTable, wanted: str | None, like: str | None) -> KernelTable:
    """Return the recorded trace with phases; of the shape `wanted`, if any, where it is compared with `like`."""
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
    there = Counter(step.shape for step in of_root)
    known = {key.phase for key in captured.keys}
    if wanted is not None and like is not None:
        return _renamed(recorded, root, of_root, _wanted(there, Shape.parse(wanted), Shape.parse(like)), known)
    shapes = _choose(there, captured)
    if len(shapes.prefill) > 1 or len(shapes.decode) > 1:
        several = shapes.prefill if len(shapes.prefill) > 1 else shapes.decode
        texts = map(str, several[:_SHOWN])
        return _with_note(
            recorded,
            f"{shorten(root, 40)} is not compared with {PREFILL} and {DECODE}: it has steps of {', '.join(texts)}; "
            f"--between SHAPE SHAPE chooses (in the first trace and in the second)",
        )
    return _renamed(recorded, root, of_root, shapes, known)


def _products(table: KernelTable, phases: set[str | None]) -> frozenset[str]:
    """Return the modules of some phases that run a GEMM."""
    is_gemm = np.array([parsed.role == "gemm" for parsed in table.parsed], dtype=np.bool_)[table.name]
    keys = (table.keys[code] for code in np.unique(table.key[is_gemm]).tolist())
    return frozenset(key.module for key in keys if key.module and key.phase in phases)


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Return whether modules are the same, or most of them with none besides, in the same layers."""
    fewer, more = sorted((one, other), key=len)
    most = fewer <= more and len(fewer) > 1 and 2 * len(fewer) > len(more)
    # A smaller model of the same family has all its modules in a larger one.
    return most and {key_of(None, name).layer for name in fewer} == {key_of(None, name).layer for name in more}


def _steps(table: KernelTable, root: str) -> list[_Step]:
    """Return the steps of a root, of each process in the order of the run; none where the shape of one is not known."""
    in_root = np.array([key.phase == root for key in table.keys], dtype=np.bool_)[table.key]
    kernels = np.flatnonzero(in_root)
    process, iteration = table.process[kernels], table.iteration[kernels]
    order = np.lexsort((iteration, process))
    kernels, process, iteration = kernels[order], process[order], iteration[order]
    parts = np.split(kernels, np.flatnonzero(np.diff(iteration) | np.diff(process)) + 1)
    steps = []
    for part in parts:
        codes = np.unique(table.shape[part]).tolist()
        if len(codes) != 1 or codes[0] < 0:
            return []
        steps.append(_Step(int(table.process[part[0]]), table.shapes[codes[0]], part))
    return steps


def _choose(there: Counter[Shape], captured: KernelTable) -> _Shapes:
    """Return which shapes of a root's steps may be the prefill and the decode steps; of each kind one at best."""
    batch, tokens = captured.info.batch, captured.info.tokens
    laid_end_to_end = all(shape.end_to_end for shape in there)
    if batch and tokens and tokens > 1:
        exact = Shape(0, batch * tokens) if laid_end_to_end else Shape(batch, tokens)
        step = Shape(0, batch) if laid_end_to_end else Shape(batch, 1)
        if exact in there:
            return _counted_from_prefill([exact], [step] if step in there else [])
    if laid_end_to_end:
        largest = max(there)
        decode = [shape for shape in there if _may_follow(shape.tokens, largest.tokens, tokens)]
        return _counted_from_prefill([largest], decode)
    prefill = [shape for shape in there if shape.tokens > 1]
    decode = [shape for shape in there if shape.tokens == 1]
    if len(prefill) == 1:
        decode = [shape for shape in decode if shape.batch == prefill[0].batch]
    return _counted_from_prefill(prefill, decode)


def _counted_from_prefill(prefill: list[Shape], decode: list[Shape]) -> _Shapes:
    return _Shapes(prefill, decode, prefill)


def _may_follow(rows: int, prefill: int, tokens: int | None) -> bool:
    """Return whether a prefill of so many tokens may be that of so many rows, each of `tokens` where that is known."""
    return prefill == rows * tokens if tokens else prefill > rows and prefill % rows == 0


def _wanted(there: Counter[Shape], wanted: Shape, like: Shape) -> _Shapes:
    """Return the shapes of a root's steps where the user said which are compared, and with which of the capture."""
    shapes = [shape for shape in there if shape == wanted]
    if like.end_to_end or like.tokens != 1:
        return _Shapes(shapes, [], [])
    before = [
        other
        for other in there
        for shape in shapes
        if other.batch == shape.batch and other.tokens > shape.tokens
        if not shape.end_to_end or _may_follow(shape.tokens, other.tokens, None)
    ]
    return _Shapes([], shapes, before)


def _renamed(table: KernelTable, root: str, steps: list[_Step], shapes: _Shapes, known: set[str | None]) -> KernelTable:
    """Return the table with the steps of the chosen shapes as phases of their own, counted from each prefill.

    Steps that would be no phase of the other trace (`known`) stay executions of the root: one phase, however many.
    """
    keys, key, iteration = list(table.keys), table.key.copy(), table.iteration.copy()
    codes: dict[RangeKey, int] = {}
    times = Counter[str]()
    named: set[Shape] = set()
    since: int | None = None
    process = -1
    for step in steps:
        if step.process != process:
            process, since = step.process, None
            times.clear()
        phase = None
        if step.shape in shapes.prefill:
            phase = PREFILL
        elif step.shape in shapes.decode and since is not None:
            phase = f"{DECODE}[{since}]"
            since += 1
        if phase is None or phase == PREFILL:
            since = 0 if step.shape in shapes.before else None
        if phase not in known or phase is None:
            continue
        iteration[step.kernels] = times[phase]
        times[phase] += 1
        named.add(step.shape)
        for code in np.unique(table.key[step.kernels]).tolist():
            renamed = replace(table.keys[code], phase=phase)
            if renamed not in codes:
                codes[renamed] = len(keys)
                keys.append(renamed)
            mine = step.kernels[table.key[step.kernels] == code]
            key[mine] = codes[renamed]
    if not named:
        return table
    told = [f"{shape} as {PREFILL}" for shape in shapes.prefill if shape in named]
    told += [f"{shape} as {DECODE}" for shape in shapes.decode if shape in named]
    note = f"steps compared as phases of the other trace: {shorten(root, 40)} of {', of '.join(told)}"
    info = _info_of(table.info, shapes.prefill)
    return _with_note(_in_launch_order(replace(table, info=info, keys=tuple(keys), key=key, iteration=iteration)), note)


def _info_of(info: TraceInfo, prefill: list[Shape]) -> TraceInfo:
    """Return what is known of a trace, with the batch and the prompt's length that its prefill's shape says."""
    if len(prefill) != 1 or prefill[0].end_to_end or info.tokens is not None:
        return info
    return replace(info, batch=prefill[0].batch, tokens=prefill[0].tokens)


def _in_launch_order(table: KernelTable) -> KernelTable:
    """Return the table with the keys that kernels have, in the order of their first launch."""
    used, first, codes = np.unique(table.key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(used), dtype=np.int32)
    place[order] = np.arange(len(used), dtype=np.int32)
    return replace(table, keys=tuple(table.keys[used[index]] for index in order), key=place[codes.reshape(-1)])


def _with_note(table: KernelTable, note: str) -> KernelTable:
    return table if note in table.notes else replace(table, notes=(*table.notes, note))
