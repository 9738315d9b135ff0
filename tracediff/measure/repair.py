"""Find kinds of modules, none too many, that make the logits bit-identical when computed in batch 1's order.

A module is computed in batch 1's order by calling it once per row. A module without children is called so as a whole.
Of a module with children (attention) only its own sums are: the operations below, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tracediff.measure.crossings import tensors_in
from tracediff.measured import Repair

Logits = Sequence[torch.Tensor]

# Operations that sum, as a module's own code calls them (attention in its fused and its written-out form).
_SUMS = frozenset(
    {
        nn.functional.scaled_dot_product_attention,
        nn.functional.softmax,
        torch.matmul,
        torch.Tensor.matmul,
        torch.Tensor.__matmul__,
        torch.bmm,
        torch.Tensor.bmm,
        torch.baddbmm,
        torch.softmax,
        torch.Tensor.softmax,
    }
)


def kind(name: str) -> str:
    """Return a module's kind: its path's last word that is no number (`q_proj`; `layers` for a whole block)."""
    words = [word for word in name.split(".") if not word.isdecimal()]
    return words[-1] if words else name


def find_repair(
    model: nn.Module, run: Callable[[], Logits], wanted: Logits, suspects: Collection[str], kinds: Collection[str]
) -> Repair:
    """Find a set of kinds none of which can be left out, starting from the suspects. There may be a smaller one.

    Args:
        model: The model that `run` runs.
        run: Runs at batch N and returns row 0's logits.
        wanted: Row 0's logits at batch 1.
        suspects: Kinds whose outputs differ on equal inputs.
        kinds: All kinds of modules.
    """
    tried = 0

    def repaired_by(chosen: Collection[str]) -> bool:
        nonlocal tried
        tried += 1
        with row_by_row(model, chosen):
            return all(torch.equal(*_as_integers(a, b)) for a, b in zip(run(), wanted, strict=True))

    minimal = sorted(suspects)
    if not minimal or not repaired_by(minimal):
        minimal = sorted(kinds)
        if not repaired_by(minimal):
            return Repair(minimal=(), logits_equal=False, complement_logits_equal=None, tried=tried)
    for candidate in list(minimal):
        rest = [name for name in minimal if name != candidate]
        if repaired_by(rest):
            minimal = rest
    complement = repaired_by([name for name in kinds if name not in minimal])
    return Repair(minimal=tuple(minimal), logits_equal=True, complement_logits_equal=complement, tried=tried)


@contextmanager
def row_by_row(model: nn.Module, kinds: Collection[str]) -> Iterator[None]:
    """Compute modules of these kinds one row at a time while the block runs.

    A row is one sequence of the batch; the batch is what the model's first tensor says.
    """
    state = _State()
    handles = [model.register_forward_pre_hook(state.model_entered, with_kwargs=True)]
    patched: list[nn.Module] = []
    parents = {name.rpartition(".")[0] for name, _ in model.named_modules() if name}
    for name, module in model.named_modules():
        if not name:
            continue
        # Inside a module without children nothing is split: it is called once per row as a whole, or not at all.
        splits_own_sums = name in parents and kind(name) in kinds
        handles.append(module.register_forward_pre_hook(state.entering(splits_own_sums)))
        handles.append(module.register_forward_hook(state.left))
        if name not in parents and kind(name) in kinds:
            module.forward = _by_rows(module.forward, state)
            patched.append(module)
    try:
        with _OwnSumsByRow(state):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module in patched:
            del module.forward  # uncovers the class's own


class _State:
    """How many rows the model was given, and whether each open module's own sums are split."""

    def __init__(self) -> None:
        self.batch = 1
        self.open_modules: list[bool] = []

    def model_entered(self, module: nn.Module, arguments: Any, keywords: Any) -> None:
        self.batch = next((each.shape[0] for each in tensors_in((arguments, keywords)) if each.dim()), 1)
        self.open_modules.clear()

    def entering(self, splits: bool) -> Callable[..., None]:
        def enter(module: nn.Module, arguments: Any) -> None:
            self.open_modules.append(splits)

        return enter

    def left(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self.open_modules.pop()


class _OwnSumsByRow(TorchFunctionMode):  # type: ignore[misc]  # torch is not typed for us
    """Splits sums into rows while a module whose own sums are wanted row by row is the innermost open one."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self._state = state

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        if function in _SUMS and self._state.open_modules and self._state.open_modules[-1]:
            return _by_rows(function, self._state)(*arguments, **keywords)
        return function(*arguments, **keywords)


def _by_rows(function: Callable[..., Any], state: _State) -> Callable[..., Any]:
    """Return a function that calls `function` once per row and joins the results."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        first = next((each.shape[0] for each in tensors_in((arguments, keywords)) if each.dim()), 0)
        if state.batch == 1 or first == 0 or first % state.batch:
            return function(*arguments, **keywords)
        # Sequences may lie flat, one token after the other: a row is then several entries.
        return _joined(
            [
                function(
                    *(_row(each, row, first, state.batch) for each in arguments),
                    **{name: _row(each, row, first, state.batch) for name, each in keywords.items()},
                )
                for row in range(state.batch)
            ]
        )

    return call


def _row(value: Any, row: int, entries: int, batch: int) -> Any:
    if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == entries:
        size = entries // batch
        return value[row * size : (row + 1) * size]
    if isinstance(value, tuple):
        return tuple(_row(part, row, entries, batch) for part in value)
    return value


def _joined(results: list[Any]) -> Any:
    if isinstance(results[0], tuple):
        return tuple(_joined(list(parts)) for parts in zip(*results, strict=True))
    return torch.cat(results)


def _as_integers(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
