"""A recording from end to end: try nsys, run the program under it, export, copy clean, write."""

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracediff.capture.command import export_command
from tracediff.capture.find_nsys import Nsys
from tracediff.capture.folder import claim_folder, keep_privately, remove_earlier, where_kept
from tracediff.capture.import_again import import_again
from tracediff.capture.manifest import FILE_NAME
from tracediff.capture.probe import choose_nsys, last_words, why_no_import, why_no_ranges
from tracediff.capture.record.clean import (
    PROGRAM,
    CleanRecording,
    NoSuchStepsError,
    clean_recording,
    processes_with_kernels,
)
from tracediff.capture.record.insert_ranges import insert_ranges
from tracediff.capture.record.lost import lost_processes
from tracediff.capture.record.manifest import record_manifest
from tracediff.capture.record.options import NONE, RecordOptions
from tracediff.capture.record.program import Recorded, run_recorded, surroundings
from tracediff.capture.worker_process import Progress
from tracediff.errors import TracediffError
from tracediff.files import copy_file
from tracediff.processes import run_program
from tracediff.temporary import temporary_folder

_SHOWN = 5
_OWN_NSYS = "the program starts an nsys of its own, and two cannot record one program"
_WITHOUT_OWN_NSYS = "record the program itself; options of nsys go into --nsys-args"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrace:
    """One trace file.

    Attributes:
        path: Where it is.
        holds: What it holds.
    """

    path: Path
    holds: CleanRecording


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResult:
    """What a recording wrote.

    Attributes:
        folder: Where.
        traces: The trace files; several where nsys was told to write several, none where a program that failed had
            nothing recorded.
        code: The program's exit code.
        warnings: What the user should know, one line each.
    """

    folder: Path
    traces: tuple[RecordedTrace, ...]
    code: int
    warnings: tuple[str, ...]

    def summary(self) -> list[str]:
        """Return what was written, and the command to run next, line by line."""
        if not self.traces:
            return []
        lines, following = [], []
        for trace in self.traces:
            holds = trace.holds
            steps = ", ".join(f"{shape} ({count} ×)" for shape, count in list(holds.steps.items())[:_SHOWN])
            more = ", …" if len(holds.steps) > _SHOWN else ""
            lines.append(
                f"{trace.path}  {holds.kernels} kernels, {holds.ranges} ranges"
                + (f", steps: {steps}{more}" if steps else "")
            )
            if not holds.kernels:
                continue
            path = shlex.quote(str(trace.path))
            following.append(f"tracediff show {path}")
            shapes = sorted(list(holds.steps)[:2], key=lambda shape: [int(size) for size in shape.split("x")])
            if len(shapes) == 2:
                following.append(f"tracediff diff {path} --between {shapes[0]} {shapes[1]}")
        lines.append(str(self.folder / FILE_NAME))
        return [*lines, "next:", *(f"  {line}" for line in following)] if following else lines


def record(options: RecordOptions, progress: Progress) -> RecordResult:
    """Run a program under nsys and write clean traces of it and their manifest.

    Args:
        options: What to record.
        progress: Called with a line for people whenever a step begins.

    Raises:
        TracediffError: nsys does not work, the program cannot be started, files are in the way, or nothing was
            recorded.
    """
    environment = dict(os.environ)
    new_folder = claim_folder(options.folder, options.force)
    try:
        progress("trying nsys")
        tried = choose_nsys(environment, options.nsys)
        if tried.problem is not None:
            raise TracediffError(tried.problem, tried.hint)
        with temporary_folder("record") as temporary:
            progress(f"recording {options.command[0]}")
            recorded = run_recorded(options, tried.nsys, temporary, environment, progress)
            return _deliver(options, tried.nsys, temporary, recorded, environment, progress)
    finally:
        if new_folder and not any(options.folder.iterdir()):
            options.folder.rmdir()


def _deliver(
    options: RecordOptions,
    nsys: Nsys,
    temporary: Path,
    recorded: Recorded,
    environment: Mapping[str, str],
    progress: Progress,
) -> RecordResult:
    import_again(nsys.path, temporary, surroundings(options, environment, temporary))
    reports = sorted(temporary.glob("record*.nsys-rep"), key=lambda path: (len(path.name), path.name))
    if not reports:
        raise _no_report(options, nsys, temporary, recorded)
    cleaned: dict[Path, CleanRecording] = {}
    warnings: list[str] = []
    with_kernels: set[int] = set()
    for number, report in enumerate(reports, start=1):
        progress(f"exporting {number} of {len(reports)}")
        clean = report.with_suffix(".clean.sqlite")
        exported = _export(options, nsys, report, surroundings(options, environment, temporary))
        with_kernels |= processes_with_kernels(exported)
        insert_ranges(exported, temporary, bounded=options.nsys_records_a_part or recorded.stopped)
        cleaned[clean] = _clean(options, recorded, exported, clean, warnings)
        exported.unlink()
    kept = {path: holds for path, holds in cleaned.items() if not holds.is_empty}
    lost = lost_processes(recorded, with_kernels)
    if not kept:
        return _nothing(options.folder, recorded, lost)
    remove_earlier(options.folder)
    traces = []
    for number, (clean, holds) in enumerate(kept.items(), start=1):
        name = "trace.sqlite" if len(reports) == 1 else f"trace{number}.sqlite"
        copy_file(clean, options.folder / name)
        traces.append(RecordedTrace(path=options.folder / name, holds=holds))
    record_manifest(nsys, recorded, {each.path.name: each.holds for each in traces}, environment).write(options.folder)
    return RecordResult(
        folder=options.folder,
        traces=tuple(traces),
        code=recorded.code,
        warnings=(*warnings, *lost, *_warnings(options, nsys, recorded, list(kept.values()), lost)),
    )


def _export(options: RecordOptions, nsys: Nsys, report: Path, environment: Mapping[str, str]) -> Path:
    exported = report.with_suffix(".export.sqlite")
    done = run_program(export_command(nsys.path, report, exported), folder=report.parent, environment=environment)
    if not exported.is_file():
        kept = keep_privately(report, options.folder / report.name)
        raise TracediffError(f"nsys could not export its recording: {last_words(done.output)}", where_kept([kept]))
    return exported


def _clean(
    options: RecordOptions, recorded: Recorded, exported: Path, clean: Path, warnings: list[str]
) -> CleanRecording:
    """Write the clean copy of an export. A program cannot always be run again: bounds that hold nothing keep all."""
    try:
        holds = clean_recording(exported, clean, steps=options.steps, switches=tuple(recorded.switches))
        if not holds.is_empty or holds.bounds == PROGRAM:
            return holds
        problem = f"the program ran and opened nothing within its bounds ({holds.bounds})"
    except NoSuchStepsError as error:
        problem = str(error)
    clean.unlink()
    holds = clean_recording(exported, clean, everything=True)
    if not holds.is_empty:
        warnings.append(f"{problem}; all of it is kept")
    return holds


def _no_report(options: RecordOptions, nsys: Nsys, temporary: Path, recorded: Recorded) -> TracediffError:
    recordings = sorted(temporary.glob("*.qdstrm"))
    if not recordings:
        ended = f"; the program ended with {recorded.code}" if recorded.code else ""
        why = f"{_OWN_NSYS}: {_WITHOUT_OWN_NSYS}" if recorded.starts_nsys else last_words(recorded.log)
        return TracediffError(f"nsys recorded nothing{ended}", why)
    problem, hint = why_no_import(nsys.path, recorded.log)
    kept = [keep_privately(path, options.folder / path.name) for path in recordings]
    return TracediffError(problem, f"{hint}; {where_kept(kept)}")


def _nothing(folder: Path, recorded: Recorded, lost: Sequence[str]) -> RecordResult:
    """Return an empty result where the program failed, since its code says more.

    Raises:
        TracediffError: It did not fail.
    """
    own_nsys = f"{_OWN_NSYS}: {_WITHOUT_OWN_NSYS}" if recorded.starts_nsys else None
    by_signal = {128 + each: each.name for each in signal.Signals}.get(recorded.code)
    if not recorded.code and (own_nsys or lost):
        raise TracediffError("nothing was recorded", own_nsys or lost[0])
    if not recorded.code:
        raise TracediffError(
            "nothing was recorded: the program used no GPU and opened no range",
            "is the GPU's work done in another program, which this one only asks for it?",
        )
    if own_nsys is not None:
        why = own_nsys
    elif by_signal is not None and not recorded.stopped:
        why = f"{by_signal} leaves nsys no time to collect what was not collected by then"
    else:
        why = lost[0] if lost else "it used no GPU and opened no range until then"
    warning = f"nothing was recorded: the program ended with {recorded.code}; {why}"
    return RecordResult(folder=folder, traces=(), code=recorded.code, warnings=(warning,))


def _warnings(
    options: RecordOptions, nsys: Nsys, recorded: Recorded, holds: Sequence[CleanRecording], lost: Sequence[str]
) -> tuple[str, ...]:
    kernels, own = sum(each.kernels for each in holds), sum(each.own_ranges for each in holds)
    warnings = []
    if recorded.code and not recorded.interrupted:
        warnings.append(f"the program ended with {recorded.code}; what it recorded until then is kept")
    if recorded.starts_nsys:
        warnings.append(f"{_OWN_NSYS}: {_WITHOUT_OWN_NSYS}")
    if not kernels and not lost:
        warnings.append("no kernels were recorded: the program ran nothing on a GPU")
    warnings += [f"a process of the program lacks module ranges: {failure}" for failure in recorded.failures[:3]]
    if options.ranges != NONE and not recorded.torch and not recorded.failures:
        warnings.append("no process of the program imported torch: there are no module ranges")
    elif any(report["ranges"] == "nvtx" for report in recorded.torch) and not own:
        problem, hint = why_no_ranges(nsys)
        warnings.append(f"no module ranges were recorded: no torch module was called, or {problem} ({hint})")
    if kernels and any(report["algorithm_log"] == "unavailable" for report in recorded.torch):
        warnings.append("no cuBLASLt with a logger is loaded: the trace holds no algorithm marks")
    processes = max(each.processes for each in holds)
    if processes > 1:
        warnings.append(f"{processes} processes ran kernels: --rank 0 … of show and diff chooses one")
    return tuple(warnings)
