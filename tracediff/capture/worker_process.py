"""Start the recorded process, alone or under a profiler, and listen to what it reports until it ends."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracediff.capture.job import Job, ReportReader
from tracediff.capture.options import TORCH, CaptureOptions
from tracediff.capture.probe import last_words
from tracediff.errors import TracediffError
from tracediff.processes import kill_session, run_program

#: How often each forward is recorded.
REPEATS = 2
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_END = 10

Progress = Callable[[str], None]


def job_of(options: CaptureOptions, temporary: Path) -> Job:
    """Return the job of the recorded process."""
    return Job(
        spec=options.spec.with_absolute_path(),
        profiler=options.profiler,
        device=options.device,
        batches=options.batches,
        repeats=REPEATS,
        prompt=options.prompt,
        chat=options.chat,
        tokens=options.tokens,
        decode=options.decode,
        # The log's lines are NVTX marks, which torch's profiler does not record.
        algorithm_log=options.algorithm_log and options.profiler != TORCH,
        reports=temporary / "reports.jsonl",
    )


def run_worker(
    options: CaptureOptions,
    temporary: Path,
    environment: dict[str, str],
    progress: Progress,
    *,
    around: Callable[[list[str]], list[str]] = list,
    end: list[str] | None = None,
) -> dict[str, Any]:
    """Run the worker to its end and return the facts that it reported.

    Args:
        options: What to record, with a profiler chosen.
        temporary: The capture's temporary folder.
        environment: What the process gets.
        progress: Called with a line for people whenever a step begins.
        around: Makes of the worker's command line the one to start.
        end: A command that ends what was started, for a profiler that a signal does not end.

    Raises:
        TracediffError: What the worker could not do, or that it ended without a word.
    """
    job = job_of(options, temporary)
    job.write(temporary / "job.json")
    command = around([sys.executable, "-m", "tracediff.capture.worker", str(temporary / "job.json")])
    reader = ReportReader(job.reports)
    reports: list[dict[str, Any]] = []
    with _log_path(temporary).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=temporary,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                reports += _listen(reader, options, progress)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        except BaseException:
            _stop(process, end, environment)
            raise
    reports += _listen(reader, options, progress)
    for report in reports:
        if report["event"] == "failed":
            raise TracediffError(report["message"], report["hint"])
    for report in reports:
        if report["event"] == "recorded":
            return report
    raise TracediffError(
        f"the recorded process ended early ({options.profiler}: {process.returncode})", last_words(log_of(temporary))
    )


def log_of(temporary: Path) -> str:
    """Return what the process and its profiler printed."""
    return _log_path(temporary).read_text(encoding="utf-8", errors="replace")


def _log_path(temporary: Path) -> Path:
    return temporary / "worker.log"


def _listen(reader: ReportReader, options: CaptureOptions, progress: Progress) -> list[dict[str, Any]]:
    news = list(reader.news())
    for report in news:
        if report["event"] == "loading":
            progress(f"loading {options.spec.label} in {options.spec.dtype}")
        elif report["event"] == "batch":
            progress(f"recording batch {report['batch']}")
    return news


def _stop(process: "subprocess.Popen[bytes]", end: list[str] | None, environment: dict[str, str]) -> None:
    """End what was started; it is a session of its own, so Ctrl-C does not reach it by itself."""
    if end is None:
        process.terminate()
    else:
        run_program(end, environment=environment, seconds=_SECONDS_TO_END)
    try:
        process.wait(timeout=_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        kill_session(process)
