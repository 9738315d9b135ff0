"""What crosses the boundaries of a model's modules while it runs: the tensors each is given and puts out, by hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

Place = tuple[int, str]
"""Phase (0 is the prefill) and module path."""


class Crossing(NamedTuple):
    """The tensors of one call that cross one boundary.

    What a module is given was made by its parent, what it puts out by itself. So a difference in the inputs of
    `o_proj`, all values before being equal, is one that `self_attn` made between its children.

    Attributes:
        phase: 0 is the prefill.
        module: Path of the module that is called.
        call: How often it was called before in that phase.
        is_input: Whether the tensors are its inputs; else its outputs.
        maker: Path of the module that made the tensors.
    """

    phase: int
    module: str
    call: int
    is_input: bool
    maker: str

    @property
    def place(self) -> Place:
        """The module that made the tensors, and when."""
        return self.phase, self.maker


Visit = Callable[[Crossing, list[torch.Tensor]], list[torch.Tensor] | None]
"""Takes a crossing and its tensors; returns tensors to put in their place, or None to leave them."""


@contextmanager
def watched(model: nn.Module, visit: Visit) -> Iterator[None]:
    """Call `visit` at the boundaries of every module but the model itself; each call of the model is a phase."""
    phase = -1
    calls: Counter[Place] = Counter()
    open_calls: list[tuple[str, int]] = []

    def before_model(module: nn.Module, arguments: Any) -> None:
        nonlocal phase
        phase += 1
        open_calls.clear()

    def before(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, arguments: Any, keywords: Any) -> Any:
            call = calls[phase, name]
            calls[phase, name] += 1
            maker = open_calls[-1][0] if open_calls else ""
            open_calls.append((name, call))
            crossing = Crossing(phase, name, call, is_input=True, maker=maker)
            replaced = visit(crossing, list(tensors_in((arguments, keywords))))
            return None if replaced is None else with_tensors((arguments, keywords), iter(replaced))

        return hook

    def after(module: nn.Module, arguments: Any, output: Any) -> Any:
        name, call = open_calls.pop()
        crossing = Crossing(phase, name, call, is_input=False, maker=name)
        replaced = visit(crossing, list(tensors_in(output)))
        return None if replaced is None else with_tensors(output, iter(replaced))

    handles = [model.register_forward_pre_hook(before_model)]
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
            handles.append(module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of nested tuples, lists and dicts, in order. Caches and other objects are not looked into."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)


def with_tensors(value: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """Return `value` with its tensors replaced, in the order of `tensors_in`."""
    if isinstance(value, torch.Tensor):
        return next(tensors)
    if isinstance(value, (tuple, list)):
        parts = [with_tensors(part, tensors) for part in value]
        # Named tuples take their fields one by one.
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        for key in list(value):
            value[key] = with_tensors(value[key], tensors)
    return value
