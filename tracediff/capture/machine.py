"""What this machine runs on: driver, GPU, library versions."""

import ctypes
import platform
from importlib import metadata
from importlib.util import find_spec

from tracediff.capture.algorithm_log import loaded_libraries
from tracediff.version import __version__

_NVML_TEXT_BYTES = 96


def driver_and_gpus() -> tuple[str | None, list[str]]:
    """Return the NVIDIA driver's version and the GPUs' names, through NVML; (None, []) without a driver."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None, []
    if nvml.nvmlInit_v2() != 0:
        return None, []
    try:
        text = ctypes.create_string_buffer(_NVML_TEXT_BYTES)
        known = nvml.nvmlSystemGetDriverVersion(text, _NVML_TEXT_BYTES) == 0
        driver = text.value.decode() if known else None
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        names = []
        for index in range(count.value):
            device = ctypes.c_void_p()
            if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0:
                nvml.nvmlDeviceGetName(device, text, _NVML_TEXT_BYTES)
                names.append(text.value.decode())
        return driver, names
    finally:
        nvml.nvmlShutdown()


def package_version(name: str) -> str | None:
    """Return an installed Python package's version, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        # A copied folder can be imported without being installed.
        return "of unknown version" if find_spec(name) is not None else None


def cublas_version() -> str | None:
    """Return the version of the cuBLAS that this process has loaded (`13.1.0`), None without one."""
    library = loaded_libraries().get("cublasLt")
    if library is None:
        return None
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    number = int(library.cublasLtGetVersion())
    # 130100 is 13.1.0; cuBLAS 11 counted 11.x.y as 11xxyy too.
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def library_versions() -> dict[str, str]:
    """Return the versions of everything that has a say in the numbers, from inside a process that has loaded torch."""
    import torch  # noqa: PLC0415

    versions = {
        "driver": driver_and_gpus()[0],
        "cuda": torch.version.cuda,
        "cublas": cublas_version(),
        "torch": torch.__version__,
        "transformers": package_version("transformers"),
        "nvtx": package_version("nvtx"),
        "python": platform.python_version(),
        "tracediff": __version__,
    }
    return {name: str(version) for name, version in versions.items() if version is not None}
