"""What a map or a price was measured on, in words."""

from __future__ import annotations

from collections.abc import Mapping

_VERSIONS = ("torch", "cuda", "cublas", "cudnn", "triton", "transformers")


def model_words(model: str, dtype: str, layers: int | None) -> str:
    """Name the model, its precision, and how many blocks were kept where not all were."""
    return f"{model} {dtype}" + ("" if layers is None else f", first {layers} blocks")


def machine_words(machine: Mapping[str, str | None]) -> str:
    """Name the card, or the device without one."""
    return machine.get("gpu") or machine.get("device") or "an unknown machine"


def versions(machine: Mapping[str, str | None]) -> str:
    """Name the versions that bits and times depend on."""
    return ", ".join(f"{name} {machine[name]}" for name in _VERSIONS if machine.get(name))
