"""Fingerprints of tensors' bits, computed where the tensors are: large logits never leave the GPU."""

from __future__ import annotations

from collections.abc import Iterable

import torch

# Values of a tensor that are widened at once.
_CHUNK = 1 << 24
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Odd constants of splitmix64, as signed 64-bit numbers.
_STEP, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685


def fingerprint(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return 64 bits that differ, but for a chance of 1 in 2^64, where any bit of the tensors differs.

    The sum is one of integers modulo 2^64, so it does not depend on the order in which the device adds.

    Args:
        tensors: All on one device.

    Returns:
        An int64 tensor without dimensions, on that device.
    """
    total: torch.Tensor | None = None
    for number, tensor in enumerate(tensors):
        flat = tensor.detach().contiguous().flatten()
        bits = flat.view(_INTEGERS.get(flat.element_size(), torch.uint8)) if flat.numel() else flat.to(torch.uint8)
        if total is None:
            total = torch.zeros((), dtype=torch.int64, device=tensor.device)
        total = total + _mixed(torch.full_like(total, bits.numel() + (number << 40)))
        for start in range(0, bits.numel(), _CHUNK):
            part = bits[start : start + _CHUNK].to(torch.int64)
            place = torch.arange(start, start + part.numel(), device=part.device) + (number << 40)
            total = total + _mixed(_mixed(place) ^ part).sum()
    return torch.zeros((), dtype=torch.int64) if total is None else total


def _mixed(values: torch.Tensor) -> torch.Tensor:
    """Spread every bit of 64-bit integers over all (splitmix64; products wrap)."""
    values = values * _STEP
    values = (values ^ _shifted(values, 30)) * _FIRST
    values = (values ^ _shifted(values, 27)) * _SECOND
    return values ^ _shifted(values, 31)


def _shifted(values: torch.Tensor, by: int) -> torch.Tensor:
    # torch shifts the sign in; the mask takes it out again.
    return (values >> by) & ((1 << (64 - by)) - 1)
