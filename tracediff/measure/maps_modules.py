"""The parts of a model that are mapped: its products, also as engines fuse them, norms and attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tracediff.errors import TracediffError
from tracediff.findings.remedies_catalog import Kind, Setting
from tracediff.measure.cached_keys import attention_heads
from tracediff.measure.fused_products import FUSED
from tracediff.measure.remedies_apply import attention_of, is_rms_norm, product_of
from tracediff.model.fingerprint import fingerprint

_COPIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPart:
    """One part of a model, ready to run at any row count.

    Attributes:
        name, kind, shape, keys: As in `ModuleMap`.
        prepare: Makes the tensors for at most so many rows and returns the running form; called once, since only one
            part's tensors are held at a time.
    """

    name: str
    kind: str
    shape: str
    keys: int | None
    prepare: Callable[[int], RunningPart]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPart:
    """A part with its tensors.

    Attributes:
        run: Takes the number of rows and the number of a copy of the weights (0 is the one whose bits count); returns
            a tensor whose first row is row 0's output.
        copies: How many copies there are: other layers' weights, so that the GPU's cache does not hold them.
        inputs: Checksum of row 0's input and copy 0's weights.
    """

    run: Callable[[int, int], torch.Tensor]
    copies: int
    inputs: str


def parts_of(model: Any, setting: Setting, keys: Sequence[int], seed: int) -> Iterator[MapPart]:
    """Yield the parts of a Llama-like model.

    Raises:
        TracediffError: The model has no blocks whose products are named as in Llama.
    """
    blocks = next((each for each in model.modules() if isinstance(each, nn.ModuleList) and len(each)), None)
    if blocks is None or not _linear(blocks[0]):
        raise TracediffError("no blocks with linear modules were found in the model", "give a Llama-like model")
    product = product_of(setting.part(Kind.PRODUCTS))
    linear = _linear(blocks[0])
    # Where products are computed as one, none of them runs alone.
    fused = {member for members in FUSED.values() for member in members} if setting.part(Kind.FUSION) else set()
    for name, module in linear.items():
        if name in fused:
            continue
        copies = [_linear(block)[name] for block in list(blocks)[:_COPIES]]
        yield _product_part(name, copies, seed, lambda x, each: each(x), [module.weight])
    for name, members in FUSED.items():
        if all(member in linear and linear[member].bias is None for member in members):
            yield _fused_part(name, members, list(blocks)[: _COPIES // 2], product or functional.linear, seed)
    head = model.get_output_embeddings()
    if isinstance(head, nn.Linear):
        yield _product_part("lm_head", [head], seed, lambda x, each: each(x), [head.weight])
    for name, norm in blocks[0].named_children():
        if is_rms_norm(norm):
            yield _norm_part(name, [getattr(block, name) for block in list(blocks)[:_COPIES]], seed)
            break
    for count in keys:
        yield _attention_part(model, setting, count, seed)


def _linear(block: nn.Module) -> dict[str, nn.Linear]:
    return {name.rpartition(".")[2]: each for name, each in block.named_modules() if isinstance(each, nn.Linear)}


def _product_part(
    name: str,
    copies: Sequence[nn.Linear],
    seed: int,
    call: Callable[[torch.Tensor, nn.Linear], torch.Tensor],
    weights: Sequence[torch.Tensor],
) -> MapPart:
    columns, depth = copies[0].weight.shape

    def prepare(rows: int) -> RunningPart:
        x = _rows(rows, (depth,), weights[0], seed)
        return RunningPart(
            run=lambda count, copy: call(x[:count], copies[copy]),
            copies=len(copies),
            inputs=checksum([x[:1], *weights]),
        )

    return MapPart(name=name, kind="product", shape=f"{depth} → {columns}", keys=None, prepare=prepare)


def _fused_part(
    name: str,
    members: Sequence[str],
    blocks: Sequence[nn.Module],
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    seed: int,
) -> MapPart:
    first = _linear(blocks[0])
    depth = first[members[0]].weight.shape[1]
    columns = sum(first[member].weight.shape[0] for member in members)

    def prepare(rows: int) -> RunningPart:
        weights = [torch.cat([_linear(block)[member].weight for member in members]) for block in blocks]
        x = _rows(rows, (depth,), weights[0], seed)
        return RunningPart(
            run=lambda count, copy: product(x[:count], weights[copy]),
            copies=len(weights),
            inputs=checksum([x[:1], weights[0]]),
        )

    return MapPart(name=name, kind="product", shape=f"{depth} → {columns}", keys=None, prepare=prepare)


def _norm_part(name: str, copies: Sequence[nn.Module], seed: int) -> MapPart:
    weight: Any = copies[0].weight

    def prepare(rows: int) -> RunningPart:
        x = _rows(rows, (len(weight),), weight, seed)
        # As in a decode step: (batch, 1, width).
        return RunningPart(
            run=lambda count, copy: copies[copy](x[:count, None])[:, 0],
            copies=len(copies),
            inputs=checksum([x[:1], weight]),
        )

    return MapPart(name=name, kind="norm", shape=f"{len(weight)}", keys=None, prepare=prepare)


def _attention_part(model: Any, setting: Setting, keys: int, seed: int) -> MapPart:
    cut = attention_heads(model)
    heads, key_heads, width = cut.queries, cut.keys, cut.width
    attend = attention_of(setting.part(Kind.ATTENTION))
    like = next(model.parameters())

    def prepare(rows: int) -> RunningPart:
        query = _rows(rows, (heads, 1, width), like, seed)
        key = _rows(rows, (key_heads, keys + 1, width), like, seed + 1)
        value = _rows(rows, (key_heads, keys + 1, width), like, seed + 2)
        return RunningPart(
            run=lambda count, copy: attend(query[:count], key[:count], value[:count], width**-0.5),
            copies=1,
            inputs=checksum([query[:1], key[:1], value[:1]]),
        )

    shape = f"{heads} heads on {key_heads} of width {width}"
    return MapPart(name="attention", kind="attention", shape=shape, keys=keys, prepare=prepare)


def _rows(rows: int, shape: Sequence[int], like: torch.Tensor, seed: int) -> torch.Tensor:
    """Return seeded random rows; the first is the same however many there are."""
    result = torch.empty(rows, *shape, dtype=like.dtype, device=like.device)
    for place, part in enumerate((result[:1], result[1:])):
        generator = torch.Generator(device=like.device).manual_seed(seed + 1000 * place)
        part.normal_(generator=generator)
    return result


def checksum(tensors: Sequence[torch.Tensor]) -> str:
    """Return a checksum of tensors' bits and sizes, made on their device (64 bits, hexadecimal)."""
    sizes = torch.tensor([size for tensor in tensors for size in tensor.shape], device=tensors[0].device)
    return f"{int(fingerprint([sizes, *tensors])) & (2**64 - 1):016x}"
