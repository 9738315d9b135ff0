"""Run other programs: with a small environment, their output as text, and nothing of them left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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

_PROCESSES = Path("/proc")
# How often a process that is being started is looked at again, until its environment can be read.
_LOOKS = 50
_SECONDS_BETWEEN_LOOKS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended.

    Attributes:
        code: Its exit code, negative where a signal ended it; None where it ran too long and was stopped.
        output: What it printed.
        errors: What it printed to stderr, where that was asked for separately; else part of `output`.
    """

    code: int | None
    output: str
    errors: str = ""


def run_program(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
    seconds: float | None = None,
    separate_errors: bool = False,
) -> Finished:
    """Run a program to its end, in a session of its own. If this is interrupted, the whole session is killed.

    Args:
        command: Program and arguments.
        folder: Working directory; None: the current one.
        environment: None: this process's own.
        text: What it reads from stdin; None: nothing.
        seconds: It is killed after this long; None: never.
        separate_errors: Whether stderr is returned separately.

    Raises:
        OSError: It cannot be started.
    """
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if separate_errors else subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(text, timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_session(process)
        output, errors = process.communicate()
        return Finished(code=None, output=output, errors=errors or "")
    except BaseException:
        kill_session(process)
        raise
    return Finished(code=process.returncode, output=output, errors=errors or "")


def kill_session(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill a process that leads a session, and all that it started in that session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def small_environment(environment: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """Return the part of an environment that a recorded or measuring process gets.

    An nsys report holds the whole environment of the process it records, so the process gets an allow-list.

    Args:
        environment: The caller's (`os.environ`).
        temporary: The folder for temporary files, nsys's own recordings included.
    """
    kept = {name: environment[name] for name in (*_WORKING, *CHANGES_NUMBERS) if name in environment}
    # The process runs in another folder, where relative entries would be wrong; and it must find this very package.
    entries = [str(Path(entry).absolute()) for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry]
    package = str(Path(__file__).resolve().parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join([*entries, *([] if package in entries else [package])])
    # A hub model has been fetched before: the process needs neither the network nor a token.
    return {**kept, "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}


def kill_users_of(folder: Path) -> None:
    """Kill every process of this user whose TMPDIR is `folder`: nsys's agent leaves its session and ignores SIGTERM.

    Only where /proc lists processes with their environment (Linux).
    """
    marker = f"\0TMPDIR={folder}\0".encode()
    entries = [entry for entry in _PROCESSES.glob("[0-9]*") if int(entry.name) != os.getpid()]
    for _ in range(_LOOKS):
        entries = [entry for entry in entries if not _is_settled(entry, marker)]
        if not entries:
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _is_settled(entry: Path, marker: bytes) -> bool:
    """Kill a process whose environment holds `marker`; return whether it could be told."""
    # A process may end while it is looked at; other users' environments cannot be read.
    with contextlib.suppress(OSError):
        environment = (entry / "environ").read_bytes()
        if marker in b"\0" + environment:
            os.kill(int(entry.name), signal.SIGKILL)
        elif not environment:
            # While exec replaces a program, its environment reads as empty. Zombies and threads of the kernel have
            # none either, and no program.
            (entry / "exe").readlink()
            return False
    return True
