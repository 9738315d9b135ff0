"""A capture from end to end: choose a profiler, record, export, copy clean, write."""

import dataclasses
import os
from pathlib import Path

from tracediff.capture.choose_profiler import ChosenProfiler, choose_profiler, with_device
from tracediff.capture.folder import claim_folder
from tracediff.capture.options import CaptureOptions
from tracediff.capture.recording import NsysRecording
from tracediff.capture.torch_recording import TorchRecording
from tracediff.capture.worker_process import REPEATS, Progress
from tracediff.capture.write import Captured, deliver
from tracediff.errors import TracediffError, install_hint
from tracediff.model.load import model_directory
from tracediff.processes import small_environment
from tracediff.temporary import temporary_folder


def capture(options: CaptureOptions, progress: Progress) -> Captured:
    """Record every batch size and write the traces and their manifest.

    Args:
        options: What to capture.
        progress: Called with a line for people whenever a step begins.

    Raises:
        TracediffError: No GPU, an nsys that was asked for and does not work, a model that cannot be loaded, files in
            the way, or a recording that nsys could not finish; what was recorded until then is kept and named.
    """
    environment = dict(os.environ)
    _require_capture_packages()
    options = with_device(options)
    new_folder = claim_folder(options.folder, options.force)
    try:
        choice = choose_profiler(options, environment, progress)
        if not (options.spec.is_preset or options.spec.is_local):
            progress(f"fetching {options.spec.label}")
            model_directory(options.spec)
        with temporary_folder("capture") as temporary:
            return _record_and_deliver(choice, temporary, environment, progress)
    finally:
        if new_folder and not any(options.folder.iterdir()):
            options.folder.rmdir()


def _record_and_deliver(
    choice: ChosenProfiler, temporary: Path, environment: dict[str, str], progress: Progress
) -> Captured:
    options, nsys = choice.options, choice.nsys
    surroundings = small_environment(environment, temporary)
    recording = (
        TorchRecording(options, temporary, surroundings, progress)
        if nsys is None
        else NsysRecording(options, nsys, temporary, surroundings, progress)
    )
    facts = recording.record()
    reports = recording.reports()
    clean = []
    for number, report in enumerate(reports, start=1):
        progress(f"exporting {number} of {len(reports)}")
        clean.append(recording.export(report))
    repeats = {batch: clean[index * REPEATS :][:REPEATS] for index, batch in enumerate(options.batches)}
    captured = deliver(options, facts, repeats, {} if nsys is None else {"nsys": nsys.version}, environment)
    if choice.warning is not None:
        captured = dataclasses.replace(captured, warnings=(choice.warning, *captured.warnings))
    if options.keep_reports and isinstance(recording, NsysRecording):
        captured = dataclasses.replace(captured, kept_reports=recording.keep(reports))
    return captured


def _require_capture_packages() -> None:
    from importlib.util import find_spec  # noqa: PLC0415

    # nvtx is nsys's alone; where it is missing, trying nsys says so.
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise TracediffError(f"{', '.join(missing)} not installed", install_hint("capture"))
