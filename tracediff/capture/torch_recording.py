"""One recording of torch's own profiler: the worker alone, its traces, and their clean copies.

It has the steps of `tracediff.capture.recording.NsysRecording`. The traces as torch writes them name the host and its
processes; they stay in the temporary folder.
"""

from pathlib import Path
from typing import Any

from tracediff.capture.options import CaptureOptions
from tracediff.capture.scrub import OwnRangesMissingError, Scrubbed
from tracediff.capture.torch_scrub import scrub_torch
from tracediff.capture.worker_process import REPEATS, Progress, job_of, run_worker
from tracediff.errors import TracediffError


class TorchRecording:
    """The steps of one recording, to be called in this order: record, reports, export of each.

    Args:
        options: What to record.
        temporary: An empty folder.
        environment: What the recorded process gets.
        progress: Called with a line for people whenever a step begins.
    """

    def __init__(
        self, options: CaptureOptions, temporary: Path, environment: dict[str, str], progress: Progress
    ) -> None:
        self._options = options
        self._temporary = temporary
        self._environment = environment
        self._progress = progress

    def record(self) -> dict[str, Any]:
        """Run the worker and return the facts that it reported.

        Raises:
            TracediffError: What the worker could not do, or that it ended without a word.
        """
        return run_worker(self._options, self._temporary, self._environment, self._progress)

    def reports(self) -> list[Path]:
        """Return torch's traces in the order of recording.

        Raises:
            TracediffError: Some are missing.
        """
        job = job_of(self._options, self._temporary)
        expected = [job.torch_trace(batch, repeat + 1) for batch in job.batches for repeat in range(REPEATS)]
        found = [path for path in expected if path.is_file()]
        if len(found) < len(expected):
            raise TracediffError(f"torch's profiler wrote {len(found)} of {len(expected)} recordings", "try again")
        return found

    def export(self, report: Path) -> tuple[Path, Scrubbed]:
        """Return the clean copy of a trace, and what it holds.

        Raises:
            TracediffError: The trace is damaged, or lacks its own ranges.
        """
        clean = report.with_suffix(".clean.json.gz")
        try:
            return clean, scrub_torch(report, clean)
        except OwnRangesMissingError as error:
            raise TracediffError("torch's profiler did not record annotations", "try --profiler nsys") from error
        finally:
            report.unlink()
