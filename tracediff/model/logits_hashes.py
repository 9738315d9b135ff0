"""Hashes of logits, so that two processes compare their bits without exchanging tensors."""

from collections.abc import Sequence

import torch

from tracediff.model.fingerprint import fingerprint


def hash_of(tensor: torch.Tensor) -> str:
    """Return a hash of a tensor's bits (64 bits, hexadecimal), computed where the tensor is."""
    return f"{int(fingerprint([tensor])) & (2**64 - 1):016x}"


def logits_hashes(batch: int, phases: Sequence[str], logits: Sequence[torch.Tensor]) -> dict[str, str]:
    """Return the hash of all rows' logits by `batch/phase`."""
    return {f"{batch}/{phase}": hash_of(each) for phase, each in zip(phases, logits, strict=True)}
