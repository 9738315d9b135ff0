"""Where nsys is on this machine, which version, and which shared libraries it misses.

nsys comes in several ways, often not on PATH: as a package of its own, with CUDA, with the HPC SDK, and inside Nsight
Compute (`…/nsight-compute/*/host/target-linux-x64/nsys`), which holds a complete one.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.processes import run_program

NSYS_VARIABLE = "TRACEDIFF_NSYS"
HOW_TO_GET_NSYS = (
    "install Nsight Systems (apt package nsight-systems-cli, or https://developer.nvidia.com/nsight-systems), "
    f"or name it with --nsys or {NSYS_VARIABLE}"
)

# Relative to the root of the file system; within one pattern the newest version goes first.
_USUAL_PLACES = (
    "usr/local/bin/nsys",
    "opt/nvidia/nsight-systems/*/bin/nsys",
    "opt/nvidia/nsight-systems/*/target-linux-*/nsys",
    "opt/nvidia/nsight-systems-cli/*/bin/nsys",
    "opt/nvidia/nsight-systems-cli/*/target-linux-*/nsys",
    "usr/lib/nsight-systems/bin/nsys",
    "usr/lib/*/nsight-systems/target-linux-*/nsys",
    "usr/local/cuda*/bin/nsys",
    "usr/local/cuda*/nsight-systems-*/target-linux-*/nsys",
    "opt/nvidia/hpc_sdk/Linux_*/*/profilers/Nsight_Systems/bin/nsys",
    "opt/nvidia/nsight-compute/*/host/target-linux-*/nsys",
    "usr/local/cuda*/nsight-compute-*/host/target-linux-*/nsys",
)

# Debian's and Ubuntu's packages of libraries that minimal containers leave out.
_PACKAGES = {
    "libdw.so.1": "libdw1",
    "libelf.so.1": "libelf1",
    "libssh.so": "libssh-4",
    "libssh.so.4": "libssh-4",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
}

_VERSION = re.compile(r"Nsight Systems version (\d+(?:\.\d+)+)")
_SECONDS_FOR_VERSION = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Nsys:
    """One nsys that runs.

    Attributes:
        path: The program.
        version: As it states it, without the build's checksum (`2025.3.2.367`).
    """

    path: Path
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers, to compare: (2025, 3, 2)."""
        return tuple(int(part) for part in self.version.split(".")[:3])


def nsys_candidates(named: Path | None = None, root: Path = Path("/")) -> list[Path]:
    """Return where an nsys program lies, best first, each program once.

    Args:
        named: The one the user named; nothing else is looked for then.
        root: Where the usual places begin.

    Raises:
        TracediffError: The named one is no program.
    """
    named = named or (Path(os.environ[NSYS_VARIABLE]) if os.environ.get(NSYS_VARIABLE) else None)
    if named is not None:
        if not _is_program(named):
            raise TracediffError(f"{named} is no program", "name the nsys program itself")
        return [named.absolute()]
    found: dict[Path, Path] = {}
    for path in _everywhere(root):
        if _is_program(path):
            found.setdefault(path.resolve(), path.absolute())
    return list(found.values())


def read_version(path: Path) -> Nsys:
    """Return the nsys at `path` with the version it states.

    Raises:
        TracediffError: It does not run; the message names the missing library where that is why.
    """
    try:
        done = run_program([path, "--version"], seconds=_SECONDS_FOR_VERSION)
    except OSError as error:
        raise TracediffError(f"{path} does not run", str(error)) from error
    version = _VERSION.search(done.output)
    if done.code is None:
        raise TracediffError(f"{path} does not run", f"`--version` took more than {_SECONDS_FOR_VERSION} s")
    if version is None and done.code == 0:
        raise TracediffError(f"{path} is not nsys", HOW_TO_GET_NSYS)
    if version is None:
        raise TracediffError(f"{path} does not run", _why_not(path, done.output))
    return Nsys(path=path, version=version[1])


def importer_of(nsys: Path) -> Path | None:
    """Return the program that turns a recording into a report; it lies in a folder beside nsys's own, or nowhere."""
    beside = nsys.resolve().parent.parent
    return next(iter(sorted(beside.glob("*/QdstrmImporter"))), None)


def missing_libraries(program: Path) -> list[str]:
    """Return the shared libraries that the loader does not find for a program, directly or indirectly."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    lines = (
        line.split("=>")
        for line in run_program([ldd, program]).output.splitlines()
        if "not found" in line and "=>" in line
    )
    return sorted({parts[0].strip() for parts in lines})


def how_to_get(libraries: list[str]) -> str:
    """Return what to do about missing shared libraries, in one phrase."""
    packages = sorted({_PACKAGES[library] for library in libraries if library in _PACKAGES})
    if packages:
        return f"apt install {' '.join(packages)} (or put their folder into LD_LIBRARY_PATH)"
    return "install the packages that hold them, or put their folder into LD_LIBRARY_PATH"


def _why_not(path: Path, output: str) -> str:
    libraries = missing_libraries(path)
    if libraries:
        return f"{', '.join(libraries)} not found; {how_to_get(libraries)}"
    return next(iter(output.strip().splitlines()), "it says nothing")


def _everywhere(root: Path) -> Iterator[Path]:
    on_path = shutil.which("nsys")
    if on_path:
        yield Path(on_path)
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "bin" / "nsys"
    for pattern in _USUAL_PLACES:
        yield from sorted(root.glob(pattern), key=_numbers, reverse=True)


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
