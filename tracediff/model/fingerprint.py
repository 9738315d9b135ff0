"""Fingerprints of tensors' bits, computed where the tensors are: large logits never leave the GPU."""

from __future__ import annotations

from collections.abc import Iterable

import torch

# Values of a tensor that are widened at once.
_CHUNK = 1 << 24
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Odd constants of the generator splitmix64, as signed 64-bit numbers.
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
        own = torch.full((), _key(number, bits.numel()), dtype=torch.int64, device=tensor.device)
        total = own if total is None else total + own
        for start in range(0, bits.numel(), _CHUNK):
            part = bits[start : start + _CHUNK].to(torch.int64)
            total = total + _mixed((_places(part) + _key(number, start)) ^ part).sum()
    return torch.zeros((), dtype=torch.int64) if total is None else total


def _key(number: int, start: int) -> int:
    """Return a number for a part of a tensor, as a signed one of 64 bits."""
    unsigned = ((number + 1) * _STEP + (start + 1) * _FIRST) % 2**64
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned


# A number for each place in a part, by device; made once, since making it costs more than using it.
_places_by_device: dict[torch.device, torch.Tensor] = {}


def _places(part: torch.Tensor) -> torch.Tensor:
    known = _places_by_device.get(part.device)
    if known is None or known.numel() < part.numel():
        size = 1 << (part.numel() - 1).bit_length()
        known = _mixed(torch.arange(1, size + 1, device=part.device))
        _places_by_device[part.device] = known
    return known[: part.numel()]


def _mixed(values: torch.Tensor) -> torch.Tensor:
    """Spread every bit of 64-bit integers over all; products wrap."""
    values = values * _STEP
    # torch shifts the sign in; the mask takes it out again.
    values = values ^ ((values >> 32) & 0xFFFFFFFF)
    return values * _SECOND
