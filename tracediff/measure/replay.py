"""Record a model at the boundaries of its modules at batch 1, and compare and replace them at batch N.

A *replay* is one forward at batch N in which every module is given the inputs that row 0 had at batch 1, repeated, and
its outputs are compared with batch 1 and then replaced by it. So each module works on equal inputs, and a difference
is its own: of a leaf in its output, of a module with children in its output or in what it hands to a child (the
attention kernels run in `self_attn` itself, between `v_proj` and `o_proj`). One forward tells this of every module.

A *comparison* is the plain forward at batch N, row 0 compared with batch 1: what differs in the run itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tracediff.measure.bits import compare, worst
from tracediff.measure.crossings import Crossing, Place, watched
from tracediff.measured import Bits
from tracediff.model.fingerprint import fingerprint

Shapes = dict[Crossing, tuple[torch.Size, ...]]

Differing = dict[tuple[Crossing, int], tuple[torch.Tensor, torch.Tensor]]
"""Row 0's tensors at batch 1 and at batch N, in host memory, that a module made differently from equal inputs.

By (crossing, number of the tensor).
"""

# Recorded tensors beyond this stay in host memory.
_MAX_DEVICE_BYTES = 8 * 2**30


@dataclass(slots=True)
class Recording:
    """What crossed every module's boundary at batch 1.

    Attributes:
        tensors: By crossing, in order.
        held_bytes: How much of it is on the device.
    """

    tensors: dict[Crossing, list[torch.Tensor]] = field(default_factory=dict)
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
        return list(dict.fromkeys(crossing.place for crossing in self.tensors if not crossing.is_input))


@dataclass(slots=True)
class Replayed:
    """What one replay found at each crossing that could be compared.

    Attributes:
        row: Fingerprint of the compared row's tensors.
        whole: Fingerprint of all rows' tensors.
        shapes: Of the tensors, of every crossing.
    """

    row: dict[Crossing, int] = field(default_factory=dict)
    whole: dict[Crossing, int] = field(default_factory=dict)
    shapes: Shapes = field(default_factory=dict)


def record(model: nn.Module, run: Callable[[], Any], rows: int | None = None) -> Recording:
    """Record every module's boundary while `run` runs the model; each call of the model is a phase.

    Args:
        model: The model that `run` runs.
        run: Runs it.
        rows: Keep the first rows alone; None keeps all.
    """
    recording = Recording()

    def visit(crossing: Crossing, tensors: list[torch.Tensor]) -> None:
        recording.tensors[crossing] = recording.hold([each[:rows] if each.dim() else each for each in tensors])

    with watched(model, visit):
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

    def visit(crossing: Crossing, tensors: list[torch.Tensor]) -> list[torch.Tensor] | None:
        known = recording.tensors.get(crossing)
        pairs = _matched(tensors, known)
        if not pairs and tensors:
            return None
        for number, (tensor, recorded) in enumerate(pairs):
            first = _row_of(tensor, recorded, 0)
            _add(found, crossing.place, first, recorded)
            if differing is not None and not compare(first, recorded.to(tensor.device)).equal:
                differing[crossing, number] = recorded.detach().cpu().clone(), first.detach().cpu().clone()
        return [_repeated(recorded, tensor) for tensor, recorded in pairs]

    with watched(model, visit):
        run()
    return found


def replay_outcomes(
    model: nn.Module, run: Callable[[], Any], recording: Recording, *, row: int = 0, others_flow: bool = False
) -> Replayed:
    """Replay, and tell what each module made of equal inputs by fingerprints, so that many replays compare.

    Args:
        model: The model that `run` runs.
        run: Runs it.
        recording: What batch 1 did.
        row: The row that is given what batch 1 had, and compared.
        others_flow: Whether the other rows keep what they hold; else they are given the same as `row`.
    """
    rows: dict[Crossing, torch.Tensor] = {}
    wholes: dict[Crossing, torch.Tensor] = {}
    shapes: Shapes = {}

    def visit(crossing: Crossing, tensors: list[torch.Tensor]) -> list[torch.Tensor] | None:
        shapes[crossing] = tuple(tensor.shape for tensor in tensors)
        pairs = _matched(tensors, recording.tensors.get(crossing))
        if not pairs:
            return None
        rows[crossing] = fingerprint(_row_of(tensor, recorded, row) for tensor, recorded in pairs)
        one_row = all(tensor.shape == recorded.shape for tensor, recorded in pairs)
        wholes[crossing] = rows[crossing] if one_row else fingerprint(tensors)
        if not others_flow:
            return [_repeated(recorded, tensor) for tensor, recorded in pairs]
        return [_with_row(tensor, recorded, row) for tensor, recorded in pairs]

    with watched(model, visit):
        run()
    return Replayed(row=_as_numbers(rows), whole=_as_numbers(wholes), shapes=shapes)


def recorded_outcomes(recording: Recording) -> dict[Crossing, int]:
    """Return the fingerprints of what was recorded, to compare with those of a replay at batch 1."""
    held: dict[str, dict[Crossing, torch.Tensor]] = {}
    for crossing, tensors in recording.tensors.items():
        value = fingerprint(tensors)
        held.setdefault(str(value.device), {})[crossing] = value
    return {crossing: number for found in held.values() for crossing, number in _as_numbers(found).items()}


def compare_run(model: nn.Module, run: Callable[[], Any], recording: Recording) -> dict[Place, Bits]:
    """Compare row 0 of every module's output with the recording while `run` runs the model; nothing is replaced."""
    found: dict[Place, Bits] = {}

    def visit(crossing: Crossing, tensors: list[torch.Tensor]) -> None:
        if not crossing.is_input:
            for tensor, known in _matched(tensors, recording.tensors.get(crossing)):
                _add(found, crossing.place, _row_of(tensor, known, 0), known)

    with watched(model, visit):
        run()
    return found


@contextmanager
def pinned(model: nn.Module, recording: Recording, crossings: Collection[Crossing]) -> Iterator[None]:
    """Put what batch 1 had in the place of what crosses these boundaries, in every row, while the block runs."""
    chosen = frozenset(crossings)

    def visit(crossing: Crossing, tensors: list[torch.Tensor]) -> list[torch.Tensor] | None:
        pairs = _matched(tensors, recording.tensors.get(crossing)) if crossing in chosen else []
        return [_repeated(recorded, tensor) for tensor, recorded in pairs] if pairs else None

    if not chosen:
        yield
        return
    with watched(model, visit):
        yield


def _as_numbers(fingerprints: dict[Crossing, torch.Tensor]) -> dict[Crossing, int]:
    """Fetch all fingerprints at once: one wait for the device in place of thousands."""
    if not fingerprints:
        return {}
    numbers = torch.stack(list(fingerprints.values())).tolist()
    return dict(zip(fingerprints, numbers, strict=True))


def _repeated(recorded: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    rows = like.shape[0] // recorded.shape[0] if like.dim() and recorded.shape[0] else 1
    on_device = recorded.to(like.device)
    return on_device if rows == 1 else on_device.repeat(rows, *([1] * (like.dim() - 1)))


def _with_row(tensor: torch.Tensor, recorded: torch.Tensor, row: int) -> torch.Tensor:
    """Return a copy with one row replaced; what all rows share is replaced as a whole."""
    on_device = recorded.to(tensor.device)
    if tensor.shape == recorded.shape:
        return on_device
    size = recorded.shape[0]
    copy = tensor.clone()
    copy[row * size : (row + 1) * size] = on_device
    return copy


def _row_of(tensor: torch.Tensor, recorded: torch.Tensor, row: int) -> torch.Tensor:
    """Return the part of a tensor that belongs to a row: as many entries as batch 1 had."""
    if tensor.dim() == 0 or tensor.shape[0] == recorded.shape[0]:
        return tensor
    size = recorded.shape[0]
    return tensor[row * size : (row + 1) * size]


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


def _add(found: dict[Place, Bits], place: Place, tensor: torch.Tensor, recorded: torch.Tensor) -> None:
    before = found.get(place)
    now = worst(before, compare(tensor, recorded.to(tensor.device)))
    if before is not None and before.equal and not now.equal:
        del found[place]  # moved to where it first differed, so that the first difference comes first
    found[place] = now
