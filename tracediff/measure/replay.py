"""Look at a model at the boundaries of its modules: record them at batch 1, compare and replace them at batch N.

A *replay* is one forward at batch N in which every module is given the inputs that row 0 had at batch 1, repeated, and
its outputs are compared with batch 1 and then replaced by it. So each module works on equal inputs, and a difference
is its own: of a leaf in its output, of a module with children in its output or in what it hands to a child (the
attention kernels run in `self_attn` itself, between `v_proj` and `o_proj`). One forward tells this of every module.

A *comparison* is the plain forward at batch N, row 0 compared with batch 1: what differs in the run itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tracediff.measure.bits import compare, worst
from tracediff.measured import Bits

Place = tuple[int, str]
"""Phase (0 is the prefill) and module path."""

Differing = dict[tuple[Place, str | None, int, int], tuple[torch.Tensor, torch.Tensor]]
"""Row 0's tensors at batch 1 and at batch N, in host memory, that a module made differently from equal inputs.

By (place of the module, child that it handed the tensor to or None for its own output, how often that one was called
before in that phase, number of the tensor).
"""

# Recorded tensors beyond this stay in host memory.
_MAX_DEVICE_BYTES = 8 * 2**30


@dataclass(slots=True)
class Recording:
    """What crossed every module's boundary at batch 1.

    Attributes:
        inputs, outputs: Tensors of each call, by (phase, module, how often it was called before in that phase).
        held_bytes: How much of it is on the device.
    """

    inputs: dict[tuple[int, str, int], list[torch.Tensor]] = field(default_factory=dict)
    outputs: dict[tuple[int, str, int], list[torch.Tensor]] = field(default_factory=dict)
    held_bytes: int = 0

    def hold(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return copies: the model may write into its own."""
        copies = []
        for tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            on_device = self.held_bytes + size <= _MAX_DEVICE_BYTES
            self.held_bytes += size if on_device else 0
            copies.append(tensor.detach().clone() if on_device else tensor.detach().cpu())
        return copies

    @property
    def places(self) -> list[Place]:
        """Every (phase, module) that ran, in order of the first call's end."""
        return list(dict.fromkeys((phase, name) for phase, name, _ in self.outputs))


def record(model: nn.Module, run: Callable[[], Any], rows: int | None = None) -> Recording:
    """Record every module's boundary while `run` runs the model; each call of the model is a phase.

    Args:
        model: The model that `run` runs.
        run: Runs it.
        rows: Keep the first rows alone; None keeps all.
    """
    recording = Recording()

    def entered(place: _Call, tensors: list[torch.Tensor]) -> None:
        recording.inputs[place.key] = recording.hold([each[:rows] if each.dim() else each for each in tensors])

    def left(place: _Call, tensors: list[torch.Tensor]) -> None:
        recording.outputs[place.key] = recording.hold([each[:rows] if each.dim() else each for each in tensors])

    with _watched(model, entered, left):
        run()
    return recording


def replay(
    model: nn.Module, run: Callable[[], Any], recording: Recording, differing: Differing | None = None
) -> dict[Place, Bits]:
    """Compare every module on equal inputs while `run` runs the model at batch N.

    Args:
        model: The model that `run` runs.
        run: Runs it.
        recording: What batch 1 did.
        differing: Takes the tensors that differ; None keeps none.

    Returns:
        The bits of each module that could be compared, those that differ in the order in which they first did. A module
        whose tensors have no rows is left out.
    """
    found: dict[Place, Bits] = {}

    def entered(place: _Call, tensors: list[torch.Tensor]) -> list[torch.Tensor] | None:
        # What a module is handed was made by its parent from replaced values: a difference is the parent's.
        maker = (place.phase, place.parent)
        result = _compare_and_replace(tensors, recording.inputs.get(place.key), found, maker)
        if differing is not None and result is not None:
            _keep_differing(differing, (maker, place.name, place.number), tensors, recording.inputs[place.key])
        return result

    def left(place: _Call, tensors: list[torch.Tensor]) -> list[torch.Tensor] | None:
        maker = (place.phase, place.name)
        result = _compare_and_replace(tensors, recording.outputs.get(place.key), found, maker)
        if differing is not None and result is not None:
            _keep_differing(differing, (maker, None, place.number), tensors, recording.outputs[place.key])
        return result

    with _watched(model, entered, left):
        run()
    return found


def compare_run(model: nn.Module, run: Callable[[], Any], recording: Recording) -> dict[Place, Bits]:
    """Compare row 0 of every module's output with the recording while `run` runs the model; nothing is replaced."""
    found: dict[Place, Bits] = {}

    def left(place: _Call, tensors: list[torch.Tensor]) -> None:
        for tensor, known in _matched(tensors, recording.outputs.get(place.key)):
            _add(found, (place.phase, place.name), _first_rows(tensor, known), known)

    with _watched(model, lambda place, tensors: None, left):
        run()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    phase: int
    name: str
    parent: str
    number: int

    @property
    def key(self) -> tuple[int, str, int]:
        return self.phase, self.name, self.number


_Visit = Callable[[_Call, list[torch.Tensor]], list[torch.Tensor] | None]


@contextmanager
def _watched(model: nn.Module, entered: _Visit, left: _Visit) -> Iterator[None]:
    """Call `entered` and `left` at the boundary of every module but the model itself.

    Tensors that they return take the place of the module's own.
    """
    phase = -1
    open_modules: list[str] = []
    calls: Counter[tuple[int, str]] = Counter()
    open_calls: list[_Call] = []

    def before_model(module: nn.Module, arguments: Any) -> None:
        nonlocal phase
        phase += 1
        open_modules[:] = [""]

    def before(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, arguments: Any, keywords: Any) -> Any:
            call = _Call(
                phase=phase,
                name=name,
                parent=open_modules[-1] if open_modules else "",
                number=calls[phase, name],
            )
            calls[phase, name] += 1
            open_modules.append(name)
            open_calls.append(call)
            replaced = entered(call, list(tensors_in((arguments, keywords))))
            return None if replaced is None else _with_tensors((arguments, keywords), iter(replaced))

        return hook

    def after(module: nn.Module, arguments: Any, output: Any) -> Any:
        open_modules.pop()
        replaced = left(open_calls.pop(), list(tensors_in(output)))
        return None if replaced is None else _with_tensors(output, iter(replaced))

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


def _with_tensors(value: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """Return `value` with its tensors replaced, in the order of `tensors_in`."""
    if isinstance(value, torch.Tensor):
        return next(tensors)
    if isinstance(value, (tuple, list)):
        parts = [_with_tensors(part, tensors) for part in value]
        # Named tuples take their fields one by one.
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        for key in list(value):
            value[key] = _with_tensors(value[key], tensors)
    return value


def _compare_and_replace(
    tensors: list[torch.Tensor], known: list[torch.Tensor] | None, found: dict[Place, Bits], place: Place
) -> list[torch.Tensor] | None:
    matched = dict(enumerate(_matched(tensors, known)))
    if len(matched) != len(tensors):
        return None
    result = []
    for tensor, recorded in matched.values():
        _add(found, place, _first_rows(tensor, recorded), recorded)
        rows = tensor.shape[0] // recorded.shape[0] if tensor.dim() and recorded.shape[0] else 1
        on_device = recorded.to(tensor.device)
        result.append(on_device if rows == 1 else on_device.repeat(rows, *([1] * (tensor.dim() - 1))))
    return result


def _keep_differing(
    differing: Differing,
    crossing: tuple[Place, str | None, int],
    tensors: Sequence[torch.Tensor],
    known: Sequence[torch.Tensor],
) -> None:
    for number, (tensor, recorded) in enumerate(zip(tensors, known, strict=True)):
        first = _first_rows(tensor, recorded)
        if not compare(first, recorded.to(tensor.device)).equal:
            differing[(*crossing, number)] = recorded.detach().cpu().clone(), first.detach().cpu().clone()


def _matched(tensors: list[torch.Tensor], known: list[torch.Tensor] | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pair tensors with the recorded ones; empty where they are not the same work with more rows."""
    if known is None or len(known) != len(tensors):
        return []
    pairs = list(zip(tensors, known, strict=True))
    return pairs if all(_has_rows_of(tensor, recorded) for tensor, recorded in pairs) else []


def _has_rows_of(tensor: torch.Tensor, recorded: torch.Tensor) -> bool:
    if tensor.dim() != recorded.dim() or tensor.dtype != recorded.dtype or tensor.shape[1:] != recorded.shape[1:]:
        return False
    if tensor.dim() == 0 or tensor.shape[0] == recorded.shape[0]:
        return True
    return bool(recorded.shape[0] > 0 and tensor.shape[0] % recorded.shape[0] == 0)


def _first_rows(tensor: torch.Tensor, recorded: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dim() == 0 else tensor[: recorded.shape[0]]


def _add(found: dict[Place, Bits], place: Place, tensor: torch.Tensor, recorded: torch.Tensor) -> None:
    before = found.get(place)
    now = worst(before, compare(tensor, recorded.to(tensor.device)))
    if before is not None and before.equal and not now.equal:
        del found[place]  # stands where it first differed, so that the first difference comes first
    found[place] = now
