"""What bits and times depend on beside the model and the setting. torch is imported when it is asked for."""

from __future__ import annotations

import os

from tracediff.capture.machine import cublas_version

# What cuBLAS and cuBLASLt may use of memory decides which split-K algorithms they choose.
_WORKSPACE_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE")


def machine(device: str) -> dict[str, str | None]:
    """Return device, GPU and versions; None where there is no GPU or the library does not tell."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    on_gpu = device.startswith("cuda")
    return {
        "device": "cuda" if on_gpu else device,
        "gpu": torch.cuda.get_device_name(torch.device(device)) if on_gpu else None,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if on_gpu else None,
        "cublas": _loaded_cublas() if on_gpu else None,
        "cudnn": str(torch.backends.cudnn.version()) if on_gpu else None,
        "triton": _triton_version() if on_gpu else None,
        "transformers": transformers.__version__,
    }


def machine_and_workspace(device: str) -> dict[str, str | None]:
    """Return the same, on a GPU with the variables that set cuBLAS's workspace, where there are any.

    For a result of one process. Maps and remedies name the workspace by their settings, each of which has its own.
    """
    workspace = [f"{name}={os.environ[name]}" for name in _WORKSPACE_VARIABLES if name in os.environ]
    return machine(device) | ({"workspace": " ".join(workspace)} if device.startswith("cuda") and workspace else {})


def _loaded_cublas() -> str | None:
    import torch  # noqa: PLC0415

    torch.ones(16, 16, device="cuda") @ torch.ones(16, 16, device="cuda")  # loads it
    return cublas_version()


def _triton_version() -> str | None:
    try:
        import triton  # noqa: PLC0415
    except ImportError:
        return None
    return str(triton.__version__)
