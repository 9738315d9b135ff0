"""Steps and layers of kernels that no range names: found by their repetition, and named by their place.

A run of repeated blocks is one step (a forward: a prefill, a decode step). Between two runs come the end of one step
(last norm, head, sampling) and the beginning of the next (embedding, rotary angles): kernels that also come before the
first run begin a step. Inside a step a kernel is named by the products around it, so that the same place has
the same name in every block, step and trace, whatever kernels run there:

| name | kernels |
| --- | --- |
| `input.…` | before the first block |
| `blocks.5.gemm2` | the second product of block 5, and the kernel that adds its parts |
| `blocks.5.attention` | its attention, also where that is a product, softmax and a product |
| `blocks.5.before.gemm1` | what runs before that product (here the norm) |
| `blocks.5.end` | what runs after the block's last product |
| `output.gemm1` | the first product after the last block (the language model's head) |
| `blocks.0.extra.gemm1` | the first product that this block has and most do not |
| `gemm17` | the 17th product of a step that repeats as a whole, without blocks inside |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

from tracediff.kernels import KernelName
from tracediff.trace.deviating import EXTRA, Anchors, renumbered
from tracediff.trace.repeats import KernelSequence, Run, find_runs
from tracediff.trace.table import Bool, Int32, Int64

#: Attention without a kernel of its own is a softmax between two products. A router's softmax chooses experts.
_SOFTMAX = re.compile(r"softmax", re.IGNORECASE)
_CHOOSES = re.compile(r"top_?k|sort|moe|router|expert", re.IGNORECASE)
_LONGEST_ATTENTION = 24
_INDUCTOR = "triton_inductor"
#: What repeats with so many attentions, or products, is no block of a model but all of it.
_MANY_ATTENTIONS, _MANY_PRODUCTS = 4, 48
_INPUT, _OUTPUT, _WHOLE = -1, -2, -3
_KINDS = 5
_GEMM, _ATTENTION, _BEFORE_GEMM, _BEFORE_ATTENTION, _END = range(_KINDS)
#: So many products of one block are told apart, the extra ones among them.
_MOST_NUMBER = 2 * EXTRA


class Blocks(Struct, frozen=True, kw_only=True):
    """Steps and named places, for each of some kernels.

    Attributes:
        step: Number of the step each kernel belongs to, -1 for none.
        in_block: Whether it belongs to one of the step's blocks.
        module: Code of its place in `modules`, -1 for none.
        modules: The places.
        steps: Number of steps.
        layers: The most blocks that a step has; 0 where whole steps repeat and no blocks inside them.
    """

    step: Int32
    in_block: Bool
    module: Int32
    modules: tuple[str, ...]
    steps: int
    layers: int


def find_blocks(
    parsed: Sequence[KernelName],
    name: Int32,
    launch: Sequence[Int32],
    group: Int64,
    execution: Int64,
    thread: Int64,
) -> Blocks | None:
    """Find steps and blocks in kernels that are in no module, None where nothing repeats.

    Args:
        parsed: What each distinct name says.
        name: Index of each kernel's name in `parsed`; kernels in order of launch.
        launch: Launch configuration of each kernel, shapes (kernels, any).
        group: Equal for kernels that one call launched: those of one replay of a CUDA graph.
        execution: Equal for kernels of one execution of a phase, and for those outside every range.
        thread: The thread that launched each.
    """
    roles = np.array([each.role for each in parsed], dtype=object)
    is_product = (roles == "gemm")[name]
    by_products = _attention_by_products(parsed, name, is_product)
    is_attention = (roles == "attention")[name] | by_products
    is_product &= ~by_products
    alike = _alike(parsed)[name]
    whole = KernelSequence(
        code=_code(alike, launch),
        name=alike,
        is_product=is_product,
        is_attention=is_attention,
        adds_parts=(roles == "splitk_reduce")[name],
        is_norm=(roles == "reduction")[name],
        group=group,
        execution=execution,
    )
    step, place = np.full(len(name), -1, dtype=np.int32), np.zeros(len(name), dtype=np.int64)
    steps = layers = 0
    for each in np.unique(thread).tolist():
        mine = np.flatnonzero(thread == each)
        sequence = whole.take(mine)
        runs = find_runs(sequence)
        for first, run, past in _steps(sequence, _whole_steps(sequence, runs)):
            kernels = mine[first:past]
            step[kernels] = steps
            place[kernels] = _places(sequence.take(slice(first, past)), run, first)
            steps, layers = steps + 1, max(layers, len(run.starts) if len(run.starts) > 1 else 0)
    if not steps:
        return None
    inside = np.flatnonzero(step >= 0)
    distinct, code = np.unique(place[inside], return_inverse=True)
    module = np.full(len(name), -1, dtype=np.int32)
    module[inside] = code
    modules = tuple(_module(each) for each in distinct.tolist())
    block = place // (_KINDS * _MOST_NUMBER) + _WHOLE
    in_block = (step >= 0) & (block != _INPUT) & (block != _OUTPUT)
    return Blocks(step=step, in_block=in_block, module=module, modules=modules, steps=steps, layers=layers)


def _attention_by_products(parsed: Sequence[KernelName], name: Int32, is_product: Bool) -> Bool:
    """Return which kernels are attention step by step: a product, softmax, a product, and what lies between."""
    found = np.zeros(len(name), dtype=np.bool_)
    softmax = np.array([_SOFTMAX.search(each.name) is not None for each in parsed], dtype=np.bool_)[name]
    chooses = np.array([_CHOOSES.search(each.name) is not None for each in parsed], dtype=np.bool_)[name]
    products = np.flatnonzero(is_product)
    chosen = np.r_[0, np.cumsum(chooses)]
    places = np.flatnonzero(softmax)
    after = np.searchsorted(products, places)
    inside = (after > 0) & (after < len(products))
    for index in after[inside].tolist():
        first, last = int(products[index - 1]), int(products[index])
        if last - first <= _LONGEST_ATTENTION and chosen[last] == chosen[first]:
            found[first : last + 1] = True
    return found


def _alike(parsed: Sequence[KernelName]) -> Int64:
    """Return a number for each name that is equal where names may stand at one place of a block.

    Inductor names what it fuses, and numbers it: the same place has another name in nearly every block.
    """
    inductor = [(each.family, each.kind) if each.family == _INDUCTOR else each.name for each in parsed]
    codes = {text: code for code, text in enumerate(dict.fromkeys(inductor))}
    return np.array([codes[text] for text in inductor] or [0], dtype=np.int64)


def _code(name: Int64, launch: Sequence[Int32]) -> Int64:
    """Return a number for each kernel that is equal where names and launch configurations are."""
    code = name.astype(np.uint64)
    for column in (axis for shape in launch for axis in shape.T):
        code = (code ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(29)
    return code.view(np.int64)


def _whole_steps(sequence: KernelSequence, runs: list[Run]) -> list[Run]:
    """Return the runs, each block a run of its own where whole steps repeat (a loop around another kind of model)."""
    result: list[Run] = []
    for run in runs:
        block = slice(run.starts[0], run.starts[1])
        products = np.cumsum(sequence.is_product[block])
        attentions = len(np.unique(products[sequence.is_attention[block]]))
        if attentions < _MANY_ATTENTIONS and int(products[-1]) < _MANY_PRODUCTS:
            result.append(run)
        else:
            result += [Run(starts=(start,), end=end) for start, end in pairwise([*run.starts, run.end])]
    return result


def _steps(sequence: KernelSequence, runs: list[Run]) -> list[tuple[int, Run, int]]:
    """Return where each run's step begins, the run, and where the step ends."""
    if not runs:
        return []
    name = sequence.name
    head, tail = name[: runs[0].starts[0]], name[runs[-1].end :]
    cuts = [_cut(name[before.end : after.starts[0]], head, tail) for before, after in pairwise(runs)]
    between = [after.starts[0] - before.end for before, after in pairwise(runs)]
    # Most of what precedes the first step is set-up. No more of it is taken than other steps have before their blocks
    # (and likewise after the last step); where there is only one step, no more than the length of a block.
    block = runs[0].starts[1] - runs[0].starts[0] if len(runs[0].starts) > 1 else 0
    most_before = max((length - cut for length, cut in zip(between, cuts, strict=True)), default=block)
    most_after = max(cuts, default=block)
    begins = [max(runs[0].starts[0] - most_before, 0)]
    ends = []
    for run, cut in zip(runs, cuts, strict=False):
        ends.append(run.end + cut)
        begins.append(run.end + cut)
    ends.append(min(runs[-1].end + most_after, len(name)))
    return list(zip(begins, runs, ends, strict=True))


def _cut(between: Int64, head: Int64, tail: Int64) -> int:
    """Return how many of the kernels between two runs end the first one's step.

    Args:
        between: Their names.
        head: Names of the kernels before the first run; its last ones begin a step.
        tail: Names of the kernels after the last run; its first ones end a step.
    """
    length = min(len(between), len(head))
    differ = np.flatnonzero(between[len(between) - length :] != head[len(head) - length :])
    begins = length - 1 - int(differ[-1]) if len(differ) else length
    if begins:
        return len(between) - begins
    length = min(len(between), len(tail))
    differ = np.flatnonzero(between[:length] != tail[:length])
    ends = int(differ[0]) if len(differ) else length
    return ends or len(between)


def _places(sequence: KernelSequence, run: Run, first: int) -> Int64:
    """Return a number for the place of each kernel of a step: its block (or before, after them), what it is.

    Args:
        sequence: The kernels of the step.
        run: Its blocks.
        first: Place of its first kernel in the sequence that `run` counts in.
    """
    count = len(sequence.name)
    bounds = np.array([*run.starts, run.end], dtype=np.int64) - first
    segment = np.searchsorted(bounds, np.arange(count), side="right") - 1
    inside = segment if len(run.starts) > 1 else np.full(count, _WHOLE)
    block = np.where(segment < 0, _INPUT, np.where(segment >= len(run.starts), _OUTPUT, inside))
    # Attention may take several kernels: they are one place unless a product lies between them.
    products = np.cumsum(sequence.is_product)
    attentions = np.flatnonzero(sequence.is_attention)
    again = np.zeros(count, dtype=np.bool_)
    again[attentions[1:]] = (np.diff(products[attentions]) == 0) & (np.diff(segment[attentions]) == 0)
    begins = sequence.is_attention & ~again
    anchor = np.where(sequence.is_product, _counted(sequence.is_product, segment), _counted(begins, segment))
    anchor = np.minimum(anchor, EXTRA)
    is_anchor = sequence.is_product | begins
    if len(run.starts) > 1:
        places = np.flatnonzero(is_anchor & (segment >= 0) & (segment < len(run.starts)))
        anchors = Anchors(
            block=segment[places],
            is_product=sequence.is_product[places],
            name=sequence.name[places],
            code=sequence.code[places],
        )
        anchor[places] = renumbered(anchors, anchor[places], len(run.starts))
    kind = np.full(count, _END, dtype=np.int64)
    number = np.zeros(count, dtype=np.int64)
    follows = _next(is_anchor, segment)
    ahead = follows >= 0
    kind[ahead] = np.where(sequence.is_product[follows], _BEFORE_GEMM, _BEFORE_ATTENTION)[ahead]
    number[ahead] = anchor[follows][ahead]
    kind[sequence.is_attention] = _ATTENTION
    number[sequence.is_attention] = anchor[_last(begins, segment)][sequence.is_attention]
    last_product = _last(sequence.is_product, segment)
    of_product = sequence.is_product | (sequence.adds_parts & (last_product >= 0))
    kind[of_product], number[of_product] = _GEMM, anchor[last_product][of_product]
    result: Int64 = ((block - _WHOLE) * _KINDS + kind) * _MOST_NUMBER + number
    return result


def _counted(what: Bool, segment: Int64) -> Int64:
    """Return how many there have been in the segment up to and with each place."""
    total = np.cumsum(what)
    first = np.searchsorted(segment, segment, side="left")
    before: Int64 = np.r_[0, total][first]
    return total - before


def _next(what: Bool, segment: Int64) -> Int64:
    """Return the next place in the same segment that is so, from each place on; -1 where there is none."""
    places = np.flatnonzero(what)
    found = np.searchsorted(places, np.arange(len(what)), side="left")
    following: Int64 = np.r_[places, -1][found]
    return np.where((following >= 0) & (segment[following] == segment), following, -1)


def _last(what: Bool, segment: Int64) -> Int64:
    """Return the last place in the same segment that is so, up to each place; -1 where there is none."""
    last: Int64 = np.maximum.accumulate(np.where(what, np.arange(len(what)), -1))
    return np.where((last >= 0) & (segment[last] == segment), last, -1)


def _module(place: int) -> str:
    """Return the name of a place."""
    place, number = divmod(place, _MOST_NUMBER)
    block, kind = divmod(place, _KINDS)
    block += _WHOLE
    where = {_INPUT: "input.", _OUTPUT: "output.", _WHOLE: ""}.get(block, f"blocks.{block}.")
    extra, number = ("extra.", number - EXTRA) if number > EXTRA else ("", number)
    gemm, attention = f"{extra}gemm{number}", f"{extra}attention{'' if number == 1 else number}"
    what = {
        _GEMM: gemm,
        _ATTENTION: attention,
        _BEFORE_GEMM: f"before.{gemm}",
        _BEFORE_ATTENTION: f"before.{attention}",
        _END: "end",
    }
    return f"{where}{what[kind]}"
