"""Products that engines compute as one: queries, keys and values, and the gate with the up projection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from tracediff.errors import TracediffError

FUSED = {"qkv (fused)": ("q_proj", "k_proj", "v_proj"), "gate_up (fused)": ("gate_proj", "up_proj")}
"""Names of a block's products that take the same input, by the name of the product that computes them."""

Forward = Callable[[torch.Tensor], torch.Tensor]
Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes (…, k) and a weight (columns, k); returns (…, columns)."""


def lay_weights_together(model: nn.Module) -> None:
    """Move the weights of products that can be fused behind each other in memory; the modules keep views.

    A CUDA graph that was captured before would read freed memory: call it right after loading.
    """
    for linears in _fusible(model):
        if not _lie_together(linears):
            whole = torch.cat([each.weight for each in linears])
            for linear, part in zip(linears, whole.split(_sizes(linears)), strict=True):
                linear.weight = nn.Parameter(part, requires_grad=False)


def fused_forwards(model: nn.Module, product: Product) -> dict[nn.Module, Forward]:
    """Return forwards of all products that can be fused: the first of each group computes all, the others their part.

    Raises:
        TracediffError: The model has none.
    """
    lay_weights_together(model)
    forwards: dict[nn.Module, Forward] = {}
    for linears in _fusible(model):
        group = _Group(linears, product)
        forwards |= {linear: group.forward_of(place) for place, linear in enumerate(linears)}
    if not forwards:
        raise TracediffError("the model has no products that can be fused", "leave fused-products out")
    return forwards


class _Group:
    """Products that are computed as one whenever the input is another tensor than before."""

    def __init__(self, linears: list[nn.Linear], product: Product) -> None:
        first = linears[0].weight.detach()
        self._sizes = _sizes(linears)
        self._weight = first.as_strided((sum(self._sizes), first.shape[1]), first.stride())
        self._product = product
        self._input: torch.Tensor | None = None
        self._parts: tuple[torch.Tensor, ...] = ()

    def forward_of(self, place: int) -> Forward:
        """Return the forward of one member."""

        def forward(x: torch.Tensor) -> torch.Tensor:
            if place == 0 or x is not self._input:
                self._input, self._parts = x, self._product(x, self._weight).split(self._sizes, dim=-1)
            return self._parts[place]

        return forward


def _fusible(model: nn.Module) -> Iterator[list[nn.Linear]]:
    """Yield the products without bias that one module of the model computes from the same input."""
    for module in model.modules():
        for names in FUSED.values():
            members = [getattr(module, name, None) for name in names]
            linears = [each for each in members if isinstance(each, nn.Linear) and each.bias is None]
            if len(linears) == len(names):
                yield linears


def _sizes(linears: list[nn.Linear]) -> list[int]:
    return [len(each.weight) for each in linears]


def _lie_together(linears: list[nn.Linear]) -> bool:
    first = linears[0].weight
    offset = first.storage_offset()
    for linear in linears:
        weight = linear.weight
        shared = weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not shared or weight.storage_offset() != offset or not weight.is_contiguous():
            return False
        offset += weight.numel()
    return True
