"""Compare two tensors by their bits, and tell how far apart they are in units of the last place."""

from __future__ import annotations

import math

import torch

from tracediff.measured import Bits, LogitsMove

_INTEGERS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


EQUAL = Bits(equal=True)


def compare(a: torch.Tensor, b: torch.Tensor) -> Bits:
    """Compare two tensors of the same shape and type.

    Raises:
        ValueError: Their shapes or types differ.
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"cannot compare {tuple(a.shape)} {a.dtype} with {tuple(b.shape)} {b.dtype}")
    if a.dtype not in _INTEGERS:
        differing = a != b
        if not bool(differing.any()):
            return EQUAL
        return Bits(equal=False, share=differing.double().mean().item(), max_ulp=None)
    first, second = (each.contiguous().view(_INTEGERS[a.dtype]) for each in (a, b))
    if torch.equal(first, second):
        return EQUAL
    differing = first != second
    share = differing.double().mean().item()
    if bool((differing & (a.isnan() | b.isnan())).any()):
        return Bits(equal=False, share=share, max_ulp=None)
    # Only what differs is widened: tensors may be large, differences are few.
    distance = _distance(_ordered(first[differing]), _ordered(second[differing]))
    return Bits(equal=False, share=share, max_ulp=int(distance.max()))


def move(a: torch.Tensor, b: torch.Tensor) -> LogitsMove:
    """Tell how far logits moved.

    Args:
        a, b: Logits (positions, vocabulary) of one phase at two batch sizes, of one row.
    """
    last_a, last_b = a[-1].double(), b[-1].double()
    return LogitsMove(
        max_abs=_finite((a - b).abs().max()),
        scale=_finite(a.abs().max()),
        margins=(_margin(last_a), _margin(last_b)),
        top_changes=(_top_change(last_a, last_b), _top_change(last_b, last_a)),
    )


def _margin(logits: torch.Tensor) -> float | None:
    first, second = logits.topk(2).values
    return _finite(first - second)


def _top_change(logits: torch.Tensor, others: torch.Tensor) -> float | None:
    top = logits.topk(2).indices
    return _finite((logits[top] - others[top]).abs().sum())


def _finite(value: torch.Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def worst(a: Bits | None, b: Bits) -> Bits:
    """Join two comparisons of one module: the larger share and distance; an unknown distance stays unknown."""
    if a is None:
        return b
    farthest = None if a.max_ulp is None or b.max_ulp is None else max(a.max_ulp, b.max_ulp)
    return Bits(equal=a.equal and b.equal, share=max(a.share, b.share), max_ulp=farthest)


def _ordered(integers: torch.Tensor) -> torch.Tensor:
    """Map the bits of floats to integers that count representable numbers: neighbours are 1 apart, ±0 both 0."""
    without_sign = torch.iinfo(integers.dtype).max
    wide = integers.to(torch.int64)
    return torch.where(wide < 0, -(wide & without_sign), wide)


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # Doubles of opposite signs can be further apart than 64 bits say: the sum then wraps to below zero.
    distance = torch.where((a < 0) == (b < 0), (a - b).abs(), a.abs() + b.abs())
    return torch.where(distance < 0, torch.iinfo(torch.int64).max, distance)
