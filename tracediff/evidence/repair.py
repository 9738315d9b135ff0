"""Find the fewest kinds of modules that must be computed in batch 1's order to make the logits bit-identical.

A module is computed in batch 1's order by calling it once per row. A module without children is called so as a whole.
Of a module with children (attention) only its own sums are: the operations below, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tracediff.evidence.boundaries import tensors_in

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What makes the logits bit-identical to batch 1.

    Attributes:
        minimal: Kinds of modules, none of which can be left out; empty where even all of them do not suffice.
        logits_equal: Whether computing them row by row makes the logits bit-identical.
        complement_logits_equal: Whether computing all other kinds row by row does; None where `minimal` is empty.
        tried: How many runs it took.
    """

    minimal: tuple[str, ...]
    logits_equal: bool
    complement_logits_equal: bool | None
    tried: int


def kind(name: str) -> str:
    """Return a module's kind: its path's last word that is no number (`q_proj`; `layers` for a whole block)."""
    words = [word for word in name.split(".") if not word.isdecimal()]
    return words[-1] if words else name


def find_repair(
    model: nn.Module, run: Callable[[], Logits], wanted: Logits, suspects: Collection[str], kinds: Collection[str]
) -> Repair:
    """Find a minimal set of kinds, starting from the suspects.

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
    """Compute modules of these kinds one row at a time while the block runs."""
    open_modules: list[str] = []
    handles = []
    patched: list[nn.Module] = []
    parents = {name.rpartition(".")[0] for name, _ in model.named_modules() if name}
    for name, module in model.named_modules():
        if not name:
            continue
        if name in parents:
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: open_modules.append(kind(name))))
            handles.append(module.register_forward_hook(lambda *_: _leave(open_modules)))
        elif kind(name) in kinds:
            module.forward = _by_rows(module.forward)
            patched.append(module)
    try:
        with _OwnSumsByRow(kinds, open_modules):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module in patched:
            del module.forward  # uncovers the class's own


def _leave(open_modules: list[str]) -> None:
    open_modules.pop()


class _OwnSumsByRow(TorchFunctionMode):
    """Splits sums into rows while a module of the chosen kinds is the innermost open one."""

    def __init__(self, kinds: Collection[str], open_modules: list[str]) -> None:
        super().__init__()
        self._kinds = kinds
        self._open = open_modules

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        if function in _SUMS and self._open and self._open[-1] in self._kinds:
            return _by_rows(function)(*arguments, **keywords)
        return function(*arguments, **keywords)


def _by_rows(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `function` once per row and joins the results."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        rows = max((each.shape[0] for each in tensors_in((arguments, keywords)) if each.dim()), default=1)
        if rows == 1:
            return function(*arguments, **keywords)
        results = [
            function(
                *(_row(each, row, rows) for each in arguments),
                **{name: _row(each, row, rows) for name, each in keywords.items()},
            )
            for row in range(rows)
        ]
        return _joined(results)

    return call


def _row(value: Any, row: int, rows: int) -> Any:
    if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == rows:
        return value[row : row + 1]
    if isinstance(value, tuple):
        return tuple(_row(part, row, rows) for part in value)
    return value


def _joined(results: list[Any]) -> Any:
    if isinstance(results[0], tuple):
        return tuple(_joined(list(parts)) for parts in zip(*results, strict=True))
    return torch.cat(results)


def _as_integers(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
