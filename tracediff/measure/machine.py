"""What the bits and times of a map depend on beside the model and the setting."""

from __future__ import annotations

import torch
import transformers

from tracediff.capture.machine import cublas_version


def machine(device: str) -> dict[str, str | None]:
    """Return device, GPU and versions; None where there is no GPU or the library does not tell."""
    on_gpu = device.startswith("cuda")
    return {
        "device": "cuda" if on_gpu else device,
        "gpu": torch.cuda.get_device_name(torch.device(device)) if on_gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "cublas": _loaded_cublas() if on_gpu else None,
        "cudnn": str(torch.backends.cudnn.version()) if on_gpu else None,
        "triton": _triton_version() if on_gpu else None,
        "transformers": transformers.__version__,
    }


def _loaded_cublas() -> str | None:
    torch.ones(16, 16, device="cuda") @ torch.ones(16, 16, device="cuda")  # loads it
    return cublas_version()


def _triton_version() -> str | None:
    try:
        import triton  # noqa: PLC0415
    except ImportError:
        return None
    return str(triton.__version__)
