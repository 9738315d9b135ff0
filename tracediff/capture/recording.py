"""One recording: nsys around the worker, its reports, and their export. All of it stays in a temporary folder.

The reports hold the environment of the recorded process; only their clean copies leave the folder, and what nsys could
not import or export, so that a recording is never lost.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracediff.capture.command import end_command, export_command, record_command
from tracediff.capture.find_nsys import Nsys
from tracediff.capture.job import Job, ReportReader
from tracediff.capture.models import ModelSpec
from tracediff.capture.options import CaptureOptions
from tracediff.capture.probe import last_words, why_no_import, why_no_ranges
from tracediff.capture.scrub import OwnRangesMissingError, Scrubbed, scrub
from tracediff.errors import TracediffError

#: How often each forward is recorded.
REPEATS = 2
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_END = 10
_REPORT_NUMBER = re.compile(r"\.(\d+)\.nsys-rep$")

Progress = Callable[[str], None]


class Recording:
    """The steps of one recording, to be called in this order: record, reports, export of each.

    Args:
        options: What to record.
        nsys: The profiler.
        temporary: An empty folder.
        environment: What nsys and the recorded process get.
        progress: Called with a line for people whenever a step begins.
    """

    def __init__(
        self, options: CaptureOptions, nsys: Nsys, temporary: Path, environment: dict[str, str], progress: Progress
    ) -> None:
        self._options = options
        self._nsys = nsys
        self._temporary = temporary
        self._environment = environment
        self._progress = progress
        self._captures = len(options.batches) * REPEATS

    def record(self) -> dict[str, Any]:
        """Run nsys around the worker and return the facts that the worker reported.

        Raises:
            TracediffError: What the worker could not do, or that it ended without a word.
        """
        options = self._options
        job = Job(
            spec=_with_absolute_directory(options.spec),
            device=options.device,
            batches=options.batches,
            repeats=REPEATS,
            prompt=options.prompt,
            tokens=options.tokens,
            decode=options.decode,
            algorithm_log=options.algorithm_log,
            reports=self._temporary / "reports.jsonl",
        )
        job.write(self._temporary / "job.json")
        program = [sys.executable, "-m", "tracediff.capture.worker", str(self._temporary / "job.json")]
        output = self._temporary / "capture"
        session = f"tracediff-{os.getpid()}"
        command = record_command(self._nsys.path, output, self._captures, options.device, session, program)
        reader = ReportReader(job.reports)
        reports: list[dict[str, Any]] = []
        with self._log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self._temporary,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    reports += self._listen(reader)
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            except BaseException:
                _stop(process, end_command(self._nsys.path, session), self._environment)
                raise
        reports += self._listen(reader)
        for report in reports:
            if report["event"] == "failed":
                raise TracediffError(report["message"], report["hint"])
        for report in reports:
            if report["event"] == "recorded":
                return report
        raise TracediffError(f"the recorded process ended early (nsys: {process.returncode})", self._last_words())

    def reports(self) -> list[Path]:
        """Return nsys's reports in the order of recording.

        Raises:
            TracediffError: Some are missing. What nsys recorded and could not import is kept, and named.
        """
        found = [path for path in self._temporary.glob("capture.*.nsys-rep") if _REPORT_NUMBER.search(path.name)]
        if len(found) == self._captures:
            return sorted(found, key=_number)
        recordings = sorted(self._temporary.glob("*.qdstrm"))
        if recordings:
            problem, hint = why_no_import(self._nsys.path, self._log())
            kept = [shutil.move(path, self._options.folder / path.name) for path in recordings]
            raise TracediffError(
                problem,
                f"{hint}; the recording is kept in {self._options.folder} "
                f"({', '.join(Path(path).name for path in kept)}; it holds the environment, do not share it)",
            )
        raise TracediffError(f"nsys wrote {len(found)} of {self._captures} recordings", self._last_words())

    def export(self, report: Path) -> tuple[Path, Scrubbed]:
        """Return the clean SQLite export of a report, and what it holds.

        Raises:
            TracediffError: nsys cannot export it (the report is kept then), or the export lacks its own ranges.
        """
        exported, clean = report.with_suffix(".export.sqlite"), report.with_suffix(".clean.sqlite")
        done = subprocess.run(
            export_command(self._nsys.path, report, exported),
            cwd=self._temporary,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if not exported.is_file():
            kept = self.keep([report])
            raise TracediffError(
                f"nsys could not export its recording: {last_words(done.stdout)}",
                f"it is kept as {kept[0]} (it holds the environment, do not share it)",
            )
        try:
            scrubbed = scrub(exported, clean)
        except OwnRangesMissingError as error:
            raise TracediffError(*why_no_ranges(self._nsys)) from error
        finally:
            exported.unlink()
        return clean, scrubbed

    def keep(self, reports: list[Path]) -> tuple[Path, ...]:
        """Copy reports of nsys's own into the folder of the capture, named by batch and repeat."""
        kept = []
        for report in reports:
            position = _number(report) - 1
            batch, repeat = self._options.batches[position // REPEATS], position % REPEATS + 1
            kept.append(Path(shutil.copyfile(report, self._options.folder / f"b{batch}.repeat{repeat}.nsys-rep")))
        return tuple(kept)

    def _listen(self, reader: ReportReader) -> list[dict[str, Any]]:
        news = list(reader.news())
        for report in news:
            if report["event"] == "loading":
                self._progress(f"loading {self._options.spec.label} in {self._options.spec.dtype}")
            elif report["event"] == "batch":
                self._progress(f"recording batch {report['batch']}")
        return news

    @property
    def _log_path(self) -> Path:
        return self._temporary / "nsys.log"

    def _log(self) -> str:
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def _last_words(self) -> str:
        return last_words(self._log())


def _number(report: Path) -> int:
    """Return which recording a report of nsys is, counted from 1."""
    return int(_REPORT_NUMBER.findall(report.name)[0])


def _with_absolute_directory(spec: ModelSpec) -> ModelSpec:
    """Return the spec as another folder's process needs it."""
    if not spec.is_directory:
        return spec
    return ModelSpec(
        name=str(Path(spec.name).resolve()),
        dtype=spec.dtype,
        layers=spec.layers,
        attention=spec.attention,
        seed=spec.seed,
    )


def _stop(process: "subprocess.Popen[bytes]", end: list[str], environment: dict[str, str]) -> None:
    """End nsys and what it started; they are a session of their own, so Ctrl-C does not reach them by itself."""
    subprocess.run(end, env=environment, capture_output=True, timeout=_SECONDS_TO_END, check=False)
    try:
        process.wait(timeout=_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
