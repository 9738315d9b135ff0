"""What the bits and times of a map depend on beside the model and the setting."""

from __future__ import annotations

import ctypes

import torch
import transformers


def machine(device: str) -> dict[str, str | None]:
    """Return device, GPU and versions; None where there is no GPU or the library does not tell."""
    on_gpu = device.startswith("cuda")
    return {
        "device": "cuda" if on_gpu else device,
        "gpu": torch.cuda.get_device_name(torch.device(device)) if on_gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "cublas": _cublas_version() if on_gpu else None,
        "cudnn": str(torch.backends.cudnn.version()) if on_gpu else None,
        "triton": _triton_version() if on_gpu else None,
        "transformers": transformers.__version__,
    }


def _cublas_version() -> str | None:
    """Return the version of the cuBLASLt that this process has loaded, `13.1.0`."""
    from tracediff.capture.algorithm_log import loaded_libraries  # noqa: PLC0415

    torch.ones(16, 16, device="cuda") @ torch.ones(16, 16, device="cuda")  # loads it
    library = loaded_libraries().get("cublasLt")
    if library is None:
        return None
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    version = int(library.cublasLtGetVersion())
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def _triton_version() -> str | None:
    try:
        import triton  # noqa: PLC0415
    except ImportError:
        return None
    return str(triton.__version__)
