"""One recording of nsys: nsys around the worker, its reports, and their export. All of it stays in a temporary folder.

The reports hold the environment of the recorded process; only their clean copies leave the folder, and what nsys could
not import or export, so that a recording is never lost.
"""

import os
import re
from pathlib import Path
from typing import Any

from tracediff.capture.command import end_command, export_command, record_command
from tracediff.capture.find_nsys import Nsys
from tracediff.capture.folder import keep_privately, where_kept
from tracediff.capture.import_again import import_again
from tracediff.capture.options import CaptureOptions
from tracediff.capture.probe import last_words, why_no_import, why_no_ranges
from tracediff.capture.scrub import OwnRangesMissingError, Scrubbed, scrub
from tracediff.capture.worker_process import REPEATS, Progress, log_of, run_worker
from tracediff.errors import TracediffError
from tracediff.processes import run_program

_REPORT_NUMBER = re.compile(r"\.(\d+)\.nsys-rep$")


class NsysRecording:
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
        session = f"tracediff-{os.getpid()}"
        output, device = self._temporary / "capture", self._options.device
        return run_worker(
            self._options,
            self._temporary,
            self._environment,
            self._progress,
            around=lambda program: record_command(self._nsys.path, output, self._captures, device, session, program),
            end=end_command(self._nsys.path, session),
        )

    def reports(self) -> list[Path]:
        """Return nsys's reports in the order of recording.

        Raises:
            TracediffError: Some are missing. What nsys recorded and could not import is kept, and named.
        """
        import_again(self._nsys.path, self._temporary, self._environment)
        found = [path for path in self._temporary.glob("capture.*.nsys-rep") if _REPORT_NUMBER.search(path.name)]
        if len(found) == self._captures:
            return sorted(found, key=_number)
        recordings = sorted(self._temporary.glob("*.qdstrm"))
        if recordings:
            problem, hint = why_no_import(self._nsys.path, self._log())
            kept = [keep_privately(path, self._options.folder / path.name) for path in recordings]
            raise TracediffError(problem, f"{hint}; {where_kept(kept)}")
        raise TracediffError(f"nsys wrote {len(found)} of {self._captures} recordings", self._last_words())

    def export(self, report: Path) -> tuple[Path, Scrubbed]:
        """Return the clean SQLite export of a report, and what it holds.

        Raises:
            TracediffError: nsys cannot export it (the report is kept then), or the export lacks its own ranges.
        """
        exported, clean = report.with_suffix(".export.sqlite"), report.with_suffix(".clean.sqlite")
        command = export_command(self._nsys.path, report, exported)
        done = run_program(command, folder=self._temporary, environment=self._environment)
        if not exported.is_file():
            kept = self.keep([report])
            raise TracediffError(f"nsys could not export its recording: {last_words(done.output)}", where_kept(kept))
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
            kept.append(keep_privately(report, self._options.folder / f"b{batch}.repeat{repeat}.nsys-rep"))
        return tuple(kept)

    def _log(self) -> str:
        return log_of(self._temporary)

    def _last_words(self) -> str:
        return last_words(self._log())


def _number(report: Path) -> int:
    """Return which recording a report of nsys is, counted from 1."""
    return int(_REPORT_NUMBER.findall(report.name)[0])
