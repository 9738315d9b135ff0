"""Attention whose keys are cut at fixed places: one row's sum is the same whatever the batch.

Flash attention cuts the keys of a decode step into as many parts as keep the GPU busy, so the number of parts, and with
it the order of the sum, follows the batch. Here a part is always `CHUNK` keys. A first kernel attends to one part of
one row, all query heads that share a key head together; a second adds the parts of a row in order. How many programs
run then follows the batch, what each one adds does not.

A query inside a prompt is treated as a row of its own with its own number of keys. So a token has the same bits in a
prefill as in a decode step, at the price of reading the keys once per query: right for decode steps and short prompts,
slow for long ones.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

CHUNK = 512
"""Keys in one part. Never chosen by shape: the order of the sum is this number."""
_TILE = 64
_COMBINED = 8
_SMALLEST_TILE = 16  # tl.dot takes no fewer rows
_LOG2_E = 1.4426950408889634


@triton.jit
def _attend_to_chunk(
    query, key, value, partial, top, total, output,
    query_batch, query_head, query_position,
    key_batch, key_head, key_position,
    value_batch, value_head, value_position,
    queries, keys, scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, PADDED_GROUP: tl.constexpr, WIDTH: tl.constexpr,
    CHUNK: tl.constexpr, TILE: tl.constexpr, ONE_CHUNK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend to one chunk of keys; one program per (chunk, key head, row)."""
    chunk, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    batch, position = row // queries, row % queries
    length = keys - queries + position + 1
    first = chunk * CHUNK
    if first >= length:
        return
    member = tl.arange(0, PADDED_GROUP)
    column = tl.arange(0, WIDTH)
    in_group = member < GROUP
    q = tl.load(
        query + batch * query_batch + (head * GROUP + member)[:, None] * query_head + position * query_position
        + column[None, :],
        mask=in_group[:, None], other=0.0,
    )  # fmt: skip
    highest = tl.full([PADDED_GROUP], float("-inf"), tl.float32)
    weight_sum = tl.zeros([PADDED_GROUP], tl.float32)
    weighted = tl.zeros([PADDED_GROUP, WIDTH], tl.float32)
    key_base = key + batch * key_batch + head * key_head
    value_base = value + batch * value_batch + head * value_head
    for start in range(first, tl.minimum(first + CHUNK, length), TILE):
        place = start + tl.arange(0, TILE)
        there = place < length
        k = tl.load(key_base + place[None, :] * key_position + column[:, None], mask=there[None, :], other=0.0)
        scores = tl.dot(q, k, input_precision=PRECISION) * scale
        scores = tl.where(there[None, :], scores, float("-inf"))
        raised = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.exp2(scores - raised[:, None])
        shrink = tl.exp2(highest - raised)
        v = tl.load(value_base + place[:, None] * value_position + column[None, :], mask=there[:, None], other=0.0)
        weighted = weighted * shrink[:, None]
        weighted = tl.dot(weights.to(v.dtype), v, weighted, input_precision=PRECISION)
        weight_sum = weight_sum * shrink + tl.sum(weights, 1)
        highest = raised
    heads = head * GROUP + member
    if ONE_CHUNK:
        result = weighted / weight_sum[:, None]
        tl.store(
            output + (row * HEADS + heads[:, None]) * WIDTH + column[None, :],
            result.to(output.dtype.element_ty), mask=in_group[:, None],
        )  # fmt: skip
    else:
        part = (row * HEADS + heads) * tl.num_programs(0) + chunk
        tl.store(partial + part[:, None] * WIDTH + column[None, :], weighted, mask=in_group[:, None])
        tl.store(top + part, highest, mask=in_group)
        tl.store(total + part, weight_sum, mask=in_group)


@triton.jit
def _combine_chunks(
    partial, top, total, output, queries, keys, chunks,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COMBINED: tl.constexpr,
):  # fmt: skip
    """Add the chunks of one row and head in order, `COMBINED` at a time; one program per (head, row)."""
    head, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    length = keys - queries + row % queries + 1
    used = tl.cdiv(length, CHUNK)
    column = tl.arange(0, WIDTH)
    base = (row * HEADS + head) * chunks
    highest = tl.full([1], float("-inf"), tl.float32)
    weight_sum = tl.zeros([1], tl.float32)
    weighted = tl.zeros([1, WIDTH], tl.float32)
    for first in range(0, used, COMBINED):
        chunk = first + tl.arange(0, COMBINED)
        there = chunk < used
        tops = tl.load(top + base + chunk, mask=there, other=float("-inf"))
        totals = tl.load(total + base + chunk, mask=there, other=0.0)
        parts = tl.load(partial + (base + chunk)[:, None] * WIDTH + column[None, :], mask=there[:, None], other=0.0)
        raised = tl.maximum(highest, tl.max(tops, 0))
        weights = tl.exp2(tops - raised)
        shrink = tl.exp2(highest - raised)
        weight_sum = weight_sum * shrink + tl.sum(weights * totals, 0)
        weighted = weighted * shrink[:, None] + tl.sum(weights[:, None] * parts, 0)[None, :]
        highest = raised
    result = weighted / weight_sum[:, None]
    tl.store(
        output + (row * HEADS + head) * WIDTH + column[None, :], result.to(output.dtype.element_ty)
    )  # fmt: skip


def fixed_chunk_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None, **tuning: Any
) -> torch.Tensor:
    """Attend causally, the last query to all keys, with the keys cut every `CHUNK`.

    Args:
        query: (batch, heads, queries, width).
        key, value: (batch, key heads, keys, width); `heads` is a multiple of `key heads`, `keys` at least `queries`.
        scale: Of the scores; None is 1 ÷ √width.
        tuning: `chunk`, `tile`, `warps`, `stages`; for measurements only, since other numbers are other sums.

    Returns:
        (batch, queries, heads, width), contiguous.

    Raises:
        ValueError: Shapes that do not fit, or a width that is no power of two.
    """
    batch, heads, queries, width = query.shape
    key_heads, keys = key.shape[1:3]
    if heads % key_heads or key.shape != value.shape or key.shape[0] != batch or width & (width - 1) or keys < queries:
        raise ValueError(f"no attention of {tuple(query.shape)} to {tuple(key.shape)} and {tuple(value.shape)}")
    if any(tensor.stride(-1) != 1 for tensor in (query, key, value)):
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    chunk = tuning.get("chunk", CHUNK)
    chunks = triton.cdiv(keys, chunk)
    rows, group = batch * queries, heads // key_heads
    output = torch.empty(batch, queries, heads, width, dtype=query.dtype, device=query.device)
    one_chunk = chunks == 1
    parts = 0 if one_chunk else rows * heads * chunks
    partial = torch.empty(parts, width, dtype=torch.float32, device=query.device)
    top, total = torch.empty(2, parts, dtype=torch.float32, device=query.device)
    _attend_to_chunk[(chunks, key_heads, rows)](
        query, key, value, partial, top, total, output,
        query.stride(0), query.stride(1), query.stride(2),
        key.stride(0), key.stride(1), key.stride(2),
        value.stride(0), value.stride(1), value.stride(2),
        queries, keys, (width**-0.5 if scale is None else scale) * _LOG2_E,
        HEADS=heads, GROUP=group, PADDED_GROUP=max(_SMALLEST_TILE, triton.next_power_of_2(group)), WIDTH=width,
        CHUNK=chunk, TILE=tuning.get("tile", _TILE), ONE_CHUNK=one_chunk,
        PRECISION="ieee" if query.dtype is torch.float32 else "tf32",
        num_warps=tuning.get("warps", 4), num_stages=tuning.get("stages", 3),
    )  # fmt: skip
    if not one_chunk:
        _combine_chunks[(heads, rows)](
            partial, top, total, output, queries, keys, chunks,
            HEADS=heads, WIDTH=width, CHUNK=chunk, COMBINED=_COMBINED, num_warps=tuning.get("combine_warps", 4),
        )  # fmt: skip
    return output
