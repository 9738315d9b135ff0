"""Hashes of logits, so that two processes compare their bits without exchanging tensors."""

import hashlib
from collections.abc import Sequence

import torch


def hash_of(tensor: torch.Tensor) -> str:
    """Return a hash of a tensor's bits (BLAKE2b, 16 bytes, hexadecimal)."""
    data = tensor.detach().contiguous().cpu().view(torch.uint8).numpy()
    return hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest()


def logits_hashes(batch: int, phases: Sequence[str], logits: Sequence[torch.Tensor]) -> dict[str, str]:
    """Return the hash of all rows' logits by `batch/phase`."""
    return {f"{batch}/{phase}": hash_of(each) for phase, each in zip(phases, logits, strict=True)}
