"""What is started under the profiler: nsys's arguments, and the small environment that it and the model get.

An nsys report holds the whole environment of the process it records, so the recorded process gets an allow-list.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import tracediff
from tracediff.model.ranges import DOMAIN, RUN

# What the loader, Python, CUDA and the hub's cache need to work as they do outside.
_WORKING = (
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "PATH",
    "PYTHONPATH",
    "XDG_CACHE_HOME",
)

#: What changes which kernels run or how they sum; named in the manifest where set.
CHANGES_NUMBERS = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "DISABLE_ADDMM_CUDA_LT",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
)


def small_environment(environment: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """Return what of an environment the recorded process gets.

    Args:
        environment: The caller's (`os.environ`).
        temporary: The folder for temporary files, nsys's own recordings included.
    """
    kept = {name: environment[name] for name in (*_WORKING, *CHANGES_NUMBERS) if name in environment}
    # The worker runs in another folder, so relative entries would point elsewhere; and it must find this very package.
    entries = [str(Path(entry).absolute()) for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry]
    package = str(Path(tracediff.__file__).resolve().parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join([*entries, *([] if package in entries else [package])])
    # A hub model has been fetched before: the recorded process needs neither the network nor a token.
    return {**kept, "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}


def record_command(nsys: Path, output: Path, captures: int, device: str, session: str, program: list[str]) -> list[str]:
    """Return the nsys command that records `captures` runs of one process into `output.1.nsys-rep`, `output.2…`.

    Args:
        nsys: The profiler.
        output: Where to, without suffix.
        captures: How many runs the program makes.
        device: On a GPU the CUDA profiler's start and stop delimit a run. Without one there is no CUDA to call, so
            each NVTX range `run` does.
        session: A name for the recording, to end it by.
        program: What to record.
    """
    on_gpu = device.startswith("cuda")
    traced = ["--trace=cuda,nvtx", "--cuda-graph-trace=node"] if on_gpu else ["--trace=nvtx"]
    delimiter = (
        ["--capture-range=cudaProfilerApi"] if on_gpu else ["--capture-range=nvtx", f"--nvtx-capture={RUN}@{DOMAIN}"]
    )
    return [
        str(nsys),
        "profile",
        f"--session-new={session}",
        *traced,
        "--sample=none",
        "--cpuctxsw=none",
        *delimiter,
        f"--capture-range-end=repeat:{captures}",
        f"--output={output}",
        "--force-overwrite=true",
        *program,
    ]


def end_command(nsys: Path, session: str) -> list[str]:
    """Return the nsys command that ends a recording and the recorded program; nsys's own agent outlives a signal."""
    return [str(nsys), "shutdown", f"--session={session}", "--kill=sigkill"]


def probe_command(nsys: Path, output: Path, program: list[str]) -> list[str]:
    """Return the nsys command that records the ranges of a whole program into `output.nsys-rep`."""
    quiet = ["--trace=nvtx", "--sample=none", "--cpuctxsw=none"]
    return [str(nsys), "profile", *quiet, f"--output={output}", "--force-overwrite=true", *program]


def export_command(nsys: Path, report: Path, output: Path) -> list[str]:
    """Return the nsys command that exports a report to SQLite."""
    return [str(nsys), "export", "--type=sqlite", f"--output={output}", "--force-overwrite=true", str(report)]
