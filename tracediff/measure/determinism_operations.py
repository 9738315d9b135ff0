"""The operations whose run-to-run determinism is measured, each with inputs that give it something to vary.

Indices repeat (so that atomic adds collide) and sorted values tie (so that an unstable order shows). Imports torch
inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tensors = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Makes seeded inputs: the same on every device, since they are drawn on the CPU.

    Attributes:
        dtype: Floating point dtype's name.
        size: Rows and columns of a matrix.
        device: Where the operation runs.
        seed: Of the numbers.
    """

    dtype: str
    size: int
    device: str
    seed: int = 0

    def random(self, *shape: int, gradient: bool = False) -> Any:
        """Return normal numbers."""
        import torch  # noqa: PLC0415

        generator = torch.Generator().manual_seed(self.seed)
        values = torch.randn(*shape, generator=generator).to(self.device, getattr(torch, self.dtype))
        return values.requires_grad_(gradient)

    def indices(self, below: int, *shape: int) -> Any:
        """Return int64 indices that repeat often where the shape holds many more than `below`."""
        import torch  # noqa: PLC0415

        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randint(below, shape, generator=generator).to(self.device)

    def tied(self, *shape: int) -> Any:
        """Return values of which only 50 are different."""
        import torch  # noqa: PLC0415

        return self.indices(50, *shape).to(getattr(torch, self.dtype))


Operation = Callable[[], Tensors]
"""Runs once on inputs that are ready."""
Prepare = Callable[[Inputs], Operation]


def operations() -> dict[str, Prepare]:
    """Return, by name, what prepares each operation; calling the prepared operation runs it once."""
    return {**_products(), **_attention(), **_reductions(), **_scatters(), **_gradients_that_scatter(), **_ties()}


def _products() -> dict[str, Prepare]:
    import torch  # noqa: PLC0415

    def mm(inputs: Inputs) -> Operation:
        a, b = inputs.random(inputs.size, inputs.size), inputs.random(inputs.size, inputs.size).t()
        return lambda: (torch.mm(a, b),)

    def one_row_mm(inputs: Inputs) -> Operation:
        a, b = inputs.random(1, 4 * inputs.size), inputs.random(inputs.size, 4 * inputs.size).t()
        return lambda: (torch.mm(a, b),)

    def addmm(inputs: Inputs) -> Operation:
        bias, a = inputs.random(inputs.size), inputs.random(inputs.size, inputs.size)
        return lambda: (torch.addmm(bias, a, a),)

    def bmm(inputs: Inputs) -> Operation:
        a = inputs.random(8, inputs.size // 2, inputs.size // 2)
        return lambda: (torch.bmm(a, a),)

    return {"mm": mm, "mm, one row": one_row_mm, "addmm": addmm, "bmm": bmm}


def _attention() -> dict[str, Prepare]:
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    def forward(inputs: Inputs) -> Operation:
        query = inputs.random(1, 4, inputs.size, 64)
        return lambda: (functional.scaled_dot_product_attention(query, query, query, is_causal=True),)

    def backward(inputs: Inputs) -> Operation:
        query = inputs.random(1, 4, inputs.size, 64, gradient=True)
        seed = inputs.random(1, 4, inputs.size, 64)

        def run() -> Tensors:
            output = functional.scaled_dot_product_attention(query, query, query, is_causal=True)
            return tuple(torch.autograd.grad(output, query, seed))

        return run

    return {"attention": forward, "attention backward": backward}


def _reductions() -> dict[str, Prepare]:
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    def of_a_matrix(function: Callable[[Any], Any]) -> Prepare:
        def prepare(inputs: Inputs) -> Operation:
            values = inputs.random(inputs.size, inputs.size)
            return lambda: (function(values),)

        return prepare

    def cumsum(inputs: Inputs) -> Operation:
        values = inputs.random(inputs.size * inputs.size)
        return lambda: (values.cumsum(0),)

    return {
        "sum": of_a_matrix(torch.sum),
        "sum, each row": of_a_matrix(lambda values: values.sum(dim=-1)),
        "softmax": of_a_matrix(lambda values: values.softmax(dim=-1)),
        "log_softmax": of_a_matrix(lambda values: values.log_softmax(dim=-1)),
        "layer_norm": of_a_matrix(lambda values: functional.layer_norm(values, values.shape[-1:])),
        "rms_norm": of_a_matrix(lambda values: functional.rms_norm(values, values.shape[-1:])),
        "cumsum": cumsum,
    }


def _scatters() -> dict[str, Prepare]:
    import torch  # noqa: PLC0415

    def scatter_add(inputs: Inputs) -> Operation:
        values, places = inputs.random(inputs.size**2), inputs.indices(64, inputs.size**2)
        start = torch.zeros(64, dtype=values.dtype, device=values.device)
        return lambda: (start.scatter_add(0, places, values),)

    def index_add(inputs: Inputs) -> Operation:
        values, places = inputs.random(inputs.size, 64), inputs.indices(8, inputs.size)
        start = torch.zeros(8, 64, dtype=values.dtype, device=values.device)
        return lambda: (start.index_add(0, places, values),)

    def index_put(inputs: Inputs) -> Operation:
        values, places = inputs.random(inputs.size, 64), inputs.indices(8, inputs.size)
        start = torch.zeros(8, 64, dtype=values.dtype, device=values.device)
        return lambda: (start.index_put((places,), values, accumulate=True),)

    return {"scatter_add": scatter_add, "index_add": index_add, "index_put, accumulate": index_put}


def _gradients_that_scatter() -> dict[str, Prepare]:
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    def embedding(inputs: Inputs) -> Operation:
        table, places = inputs.random(1024, 64, gradient=True), inputs.indices(16, inputs.size)
        seed = inputs.random(inputs.size, 64)
        return lambda: torch.autograd.grad(functional.embedding(places, table), table, seed)

    def gather(inputs: Inputs) -> Operation:
        values, places = inputs.random(64, gradient=True), inputs.indices(64, inputs.size**2)
        seed = inputs.random(inputs.size**2)
        return lambda: torch.autograd.grad(values.gather(0, places), values, seed)

    def cross_entropy(inputs: Inputs) -> Operation:
        logits = inputs.random(inputs.size, inputs.size, gradient=True)
        classes = inputs.indices(inputs.size, inputs.size)
        return lambda: torch.autograd.grad(functional.cross_entropy(logits, classes), logits)

    return {
        "embedding backward": embedding,
        "gather backward": gather,
        "cross_entropy backward": cross_entropy,
    }


def _ties() -> dict[str, Prepare]:
    """Values of which many are equal: how they are counted, and which of them comes first."""
    import torch  # noqa: PLC0415

    def bincount(inputs: Inputs) -> Operation:
        values, places = inputs.random(inputs.size**2), inputs.indices(64, inputs.size**2)
        return lambda: (torch.bincount(places, weights=values, minlength=64),)

    def sort(inputs: Inputs) -> Operation:
        values = inputs.tied(inputs.size * inputs.size)
        return lambda: tuple(torch.sort(values))

    def topk(inputs: Inputs) -> Operation:
        values = inputs.tied(4, inputs.size * inputs.size // 4)
        return lambda: tuple(torch.topk(values, 64))

    def argmax(inputs: Inputs) -> Operation:
        values = inputs.tied(4, inputs.size * inputs.size // 4)
        return lambda: (values.argmax(dim=-1),)

    return {"bincount, weighted": bincount, "sort, ties": sort, "topk, ties": topk, "argmax, ties": argmax}
