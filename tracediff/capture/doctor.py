"""What a capture needs, and whether this machine has it. Everything is asked or tried."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tracediff.capture.find_nsys import HOW_TO_GET_NSYS, importer_of, missing_libraries
from tracediff.capture.machine import cublas_version, driver_and_gpus, package_version
from tracediff.capture.probe import Probe, choose_nsys
from tracediff.errors import TracediffError, install_hint

OK, MISSING = "ok", "missing"
#: Checks that a capture cannot do without, whatever records it; the others only nsys needs.
_EVERY_PROFILER = frozenset({"GPU", "driver", "torch", "CUDA", "cuBLAS", "transformers"})
_EXTRA = install_hint("capture")
_BUILD = "install a CUDA build of torch, see https://pytorch.org"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One thing that a capture needs.

    Attributes:
        name: What.
        status: `ok` or `missing` (absent, or here and not working).
        found: The version or place, or what is wrong.
        hint: How to get it; null where all is well.
    """

    name: str
    status: str
    found: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What this machine can record.

    Attributes:
        profiler: `nsys`, `torch` where only torch's own profiler works, None where a capture cannot run.
        because: What is missing for `nsys`, by name; empty where nothing is.
    """

    profiler: str | None
    because: tuple[str, ...]

    def sentence(self) -> str:
        """Say it in one line."""
        missing = ", ".join(self.because)
        if self.profiler == "nsys":
            return "Can record with nsys."
        if self.profiler == "torch":
            return f"Can record with torch's profiler only. Missing for nsys: {missing}."
        return f"Cannot record. Missing: {missing}."


def ability(checks: Sequence[Requirement]) -> Ability:
    """Return what the checks mean for a capture."""
    missing = tuple(check.name for check in checks if check.status == MISSING)
    without_nsys = tuple(name for name in missing if name in _EVERY_PROFILER)
    if without_nsys:
        return Ability(profiler=None, because=without_nsys)
    return Ability(profiler="torch" if missing else "nsys", because=missing)


def examine(nsys: Path | None = None) -> list[Requirement]:
    """Return every check, in the order in which a capture needs them.

    Args:
        nsys: The nsys that the user named; None looks for one.
    """
    return [*_gpu_checks(), *_package_checks(), *_nsys_checks(nsys)]


def _gpu_checks() -> list[Requirement]:
    driver, gpus = driver_and_gpus()
    no_driver = "install NVIDIA's driver (in a container: start it with --gpus all)"
    return [
        Requirement(name="GPU", status=OK, found=", ".join(gpus))
        if gpus
        else Requirement(
            name="GPU",
            status=MISSING,
            found="none",
            hint="capture on a machine with an NVIDIA GPU; diff, show and name need none",
        ),
        _present("driver", driver, no_driver),
    ]


def _package_checks() -> list[Requirement]:
    if package_version("torch") is None:
        torch_checks = [_present(name, None, _EXTRA) for name in ("torch", "CUDA", "cuBLAS")]
    else:
        torch_checks = _torch_checks()
    return [*torch_checks, *(_present(name, package_version(name), _EXTRA) for name in ("transformers", "nvtx"))]


def _torch_checks() -> list[Requirement]:
    try:
        import torch  # noqa: PLC0415 -- seconds, and it may not be installed
    except (ImportError, OSError) as error:
        return [Requirement(name="torch", status=MISSING, found=f"does not load: {error}", hint=_BUILD)]
    cuda = torch.version.cuda
    absent = "this torch is a CPU build" if cuda is None else "not loaded by torch"
    return [
        Requirement(name="torch", status=OK, found=torch.__version__),
        _present("CUDA", cuda, _BUILD, absent),
        _present("cuBLAS", cublas_version(), _BUILD, absent),
    ]


def _nsys_checks(named: Path | None) -> list[Requirement]:
    try:
        tried = choose_nsys(dict(os.environ), named)
    except TracediffError as error:
        return [Requirement(name="nsys", status=MISSING, found=error.message, hint=error.hint or HOW_TO_GET_NSYS)]
    path = tried.nsys.path
    importer = importer_of(path)
    programs = [path, *([importer] if importer is not None else [])]
    libraries = sorted({library for program in programs for library in missing_libraries(program)})
    checks = [Requirement(name="nsys", status=OK, found=f"{tried.nsys.version} at {path}")]
    for name, works in (
        ("nsys records", tried.records),
        ("nsys imports and exports", tried.imports),
        ("nsys sees the ranges of nvtx", tried.sees_ranges),
    ):
        checks.append(Requirement(name=name, status=OK, found="yes, tried") if works else _failed(name, tried))
        if not works:
            break  # later steps were not tried
    if libraries and tried.works:
        # It works all the same: some tools of nsys's, which tracediff does not call, would not.
        checks.append(Requirement(name="nsys's libraries", status=OK, found=f"not needed here: {', '.join(libraries)}"))
    return checks


def _failed(name: str, tried: Probe) -> Requirement:
    return Requirement(name=name, status=MISSING, found=tried.problem or "no", hint=tried.hint)


def _present(name: str, version: str | None, hint: str, missing: str = "not installed") -> Requirement:
    if version is None:
        return Requirement(name=name, status=MISSING, found=missing, hint=hint)
    return Requirement(name=name, status=OK, found=version)
