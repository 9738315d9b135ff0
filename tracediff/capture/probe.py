"""Whether an nsys can do the whole of it here: record, import, export, and see our ranges. Tried, not guessed.

It takes seconds and no GPU, so a capture begins with it rather than finding out after the model has been loaded.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tracediff.capture.command import export_command, probe_command
from tracediff.capture.find_nsys import (
    HOW_TO_GET_NSYS,
    Nsys,
    how_to_get,
    importer_of,
    missing_libraries,
    nsys_candidates,
    read_version,
)
from tracediff.capture.import_again import import_again
from tracediff.capture.machine import package_version
from tracediff.capture.scrub import OwnRangesMissingError, scrub
from tracediff.errors import TracediffError, install_hint
from tracediff.model.ranges import DOMAIN, RUN
from tracediff.processes import run_program, small_environment
from tracediff.temporary import temporary_folder
from tracediff.text import printable

_PROGRAM = f"import nvtx\nwith nvtx.annotate({RUN!r}, domain={DOMAIN!r}): pass\n"
_SECONDS = 120
#: On a busy machine nsys now and then keeps nothing of a program that ends at once (seen with 2023.4).
_ATTEMPTS = 3
# The importer prints what went wrong as a message of protobuf, the text with the C++ exception in it.
_ERROR_TEXT = re.compile(r'Type: ErrorText\s+Value: "((?:[^"\\]|\\.)*)"')
_REASON = "std::exception::what: "
#: The last release of the Python package that nsys before 2025 sees (measured with nsys 2023.4 and 2024.2).
LAST_NVTX_FOR_OLD_NSYS = "0.2.11"
NEW_NSYS = (2025,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one nsys can do. A step after one that failed was not tried and counts as not working.

    Attributes:
        nsys: Which.
        records: It starts a program and records it.
        imports: It turns the recording into a report and the report into SQLite.
        sees_ranges: The export holds the ranges of the installed nvtx package.
        problem: What went wrong in one line, None where all works.
        hint: What to do about it.
    """

    nsys: Nsys
    records: bool
    imports: bool
    sees_ranges: bool
    problem: str | None = None
    hint: str | None = None

    @property
    def works(self) -> bool:
        """Whether a capture will work, as far as the profiler goes."""
        return self.problem is None


def choose_nsys(environment: dict[str, str], named: Path | None = None) -> Probe:
    """Return the first nsys here that works, or, where none does, what the first one lacks.

    Args:
        environment: The caller's (`os.environ`).
        named: The nsys that the user named; no other is tried.

    Raises:
        TracediffError: There is no nsys, or none that runs.
    """
    failures: list[Probe | TracediffError] = []
    for path in nsys_candidates(named):
        try:
            result = probe(read_version(path), environment)
        except TracediffError as error:
            failures.append(error)
            continue
        if result.works:
            return result
        failures.append(result)
    if not failures:
        raise TracediffError("nsys was not found", HOW_TO_GET_NSYS)
    for failure in failures:
        if isinstance(failure, Probe):
            return failure
    first = failures[0]
    assert isinstance(first, TracediffError)
    raise first


def probe(nsys: Nsys, environment: dict[str, str]) -> Probe:
    """Record, import and export a Python program that opens one range."""
    if package_version("nvtx") is None:
        return _cannot(nsys, "the Python package nvtx is missing", install_hint("capture"))
    with temporary_folder("probe") as temporary:
        surroundings = small_environment(environment, temporary)
        command = probe_command(nsys.path, temporary / "probe", [sys.executable, "-c", _PROGRAM])
        for _ in range(_ATTEMPTS):
            recorded = _run(command, temporary, surroundings)
            if _recorded_something(temporary):
                break
        else:
            return _cannot_record(nsys, recorded)
        import_again(nsys.path, temporary, surroundings)
        reports = sorted(temporary.glob("probe*.nsys-rep"))
        if not reports:
            problem, hint = why_no_import(nsys.path, recorded)
            return Probe(nsys=nsys, records=True, imports=False, sees_ranges=False, problem=problem, hint=hint)
        exported = _run(export_command(nsys.path, reports[0], temporary / "probe.sqlite"), temporary, surroundings)
        if not (temporary / "probe.sqlite").is_file():
            problem, hint = why_no_import(nsys.path, exported)
            return Probe(nsys=nsys, records=True, imports=False, sees_ranges=False, problem=problem, hint=hint)
        try:
            scrub(temporary / "probe.sqlite", temporary / "clean.sqlite")
        except OwnRangesMissingError:
            problem, hint = why_no_ranges(nsys)
            return Probe(nsys=nsys, records=True, imports=True, sees_ranges=False, problem=problem, hint=hint)
    return Probe(nsys=nsys, records=True, imports=True, sees_ranges=True)


def why_no_import(nsys: Path, output: str) -> tuple[str, str]:
    """Return why an nsys that records cannot import: what is wrong, and what to do about it.

    Args:
        nsys: The profiler.
        output: What it printed.
    """
    importer = importer_of(nsys)
    if importer is None:
        beside = nsys.resolve().parent.parent
        return (
            f"nsys {nsys} records but cannot import: there is no QdstrmImporter in a folder of {beside}",
            "install the whole of Nsight Systems (its host folder too), or name another nsys with --nsys",
        )
    libraries = missing_libraries(importer)
    if libraries:
        return f"nsys {nsys} records but cannot import: {', '.join(libraries)} not found", how_to_get(libraries)
    return f"nsys {nsys} records but cannot import", last_words(output)


def why_no_ranges(nsys: Nsys) -> tuple[str, str]:
    """Return why an export lacks the ranges that were opened: what is wrong, and what to do about it."""
    nvtx = package_version("nvtx")
    problem = f"nsys {nsys.version} does not see the ranges of the Python package nvtx {nvtx}"
    if nsys.release < NEW_NSYS:
        return problem, f"pip install 'nvtx<={LAST_NVTX_FOR_OLD_NSYS}', or use nsys {NEW_NSYS[0]} or later"
    return problem, "try another release of either"


def last_words(output: str) -> str:
    """Return the line that says most of what a program printed: nsys's own error text, else its last telling line."""
    if texts := _ERROR_TEXT.findall(output):
        lines = texts[-1].split(r"\n")
        reasons = [line.partition(_REASON)[2] for line in lines if line.startswith(_REASON)]
        return printable((reasons or lines)[0])
    lines = [line.strip() for line in output.replace("\r", "\n").splitlines() if line.strip()]
    telling = [line for line in lines if ("rror" in line or "not found" in line) and not line.endswith("{")]
    return printable((telling or lines or ["it printed nothing"])[-1])


def _cannot_record(nsys: Nsys, output: str) -> Probe:
    problem, hint = f"nsys {nsys.path} does not record", last_words(output)
    libraries = missing_libraries(nsys.path)
    if libraries:
        problem, hint = f"{problem}: {', '.join(libraries)} not found", how_to_get(libraries)
    return _cannot(nsys, problem, hint)


def _cannot(nsys: Nsys, problem: str, hint: str) -> Probe:
    return Probe(nsys=nsys, records=False, imports=False, sees_ranges=False, problem=problem, hint=hint)


def _recorded_something(folder: Path) -> bool:
    return any(folder.glob("probe*.nsys-rep")) or any(folder.glob("*.qdstrm"))


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = run_program(command, folder=folder, environment=environment, seconds=_SECONDS)
    return f"error: still running after {_SECONDS} s" if done.code is None else done.output
