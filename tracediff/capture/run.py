"""The parent of a capture: run nsys around the worker, export, copy clean, compare repeats, write."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracediff.capture.command import CHANGES_NUMBERS, end_command, export_command, record_command, small_environment
from tracediff.capture.find_nsys import Nsys
from tracediff.capture.job import Job, ReportReader
from tracediff.capture.manifest import FILE_NAME, Manifest, TraceEntry, listed_files
from tracediff.capture.models import ModelSpec, model_directory, require_device
from tracediff.capture.options import CaptureOptions
from tracediff.capture.probe import choose_nsys, last_words, why_no_import, why_no_ranges
from tracediff.capture.repeats import first_difference, kernel_sequence
from tracediff.capture.scrub import OwnRangesMissingError, Scrubbed, scrub
from tracediff.errors import TracediffError
from tracediff.files import replaced_when_complete, write_text

REPEATS = 2
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_END = 10
_REPORT_NUMBER = re.compile(r"\.(\d+)\.nsys-rep$")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What a capture wrote.

    Attributes:
        folder: Where.
        manifest: What is in it.
        kept_reports: nsys's own reports, where they were asked for.
        warnings: What the user should know, one line each.
    """

    folder: Path
    manifest: Manifest
    kept_reports: tuple[Path, ...]
    warnings: tuple[str, ...]

    @property
    def traces(self) -> list[Path]:
        """The trace files, one per batch size."""
        return [self.folder / entry.file for entry in self.manifest.traces]

    def summary(self) -> str:
        """Return what was written, and the command to run next."""
        lines = [
            f"{path}  batch {entry.batch}, {entry.kernels} kernels"
            for path, entry in zip(self.traces, self.manifest.traces, strict=True)
        ]
        lines += [str(self.folder / FILE_NAME), *(str(path) for path in self.kept_reports)]
        first, *others = (shlex.quote(str(path)) for path in self.traces)
        following = [f"tracediff diff {first} {other}" for other in others] or [f"tracediff show {first}"]
        return "\n".join([*lines, "next:", *(f"  {line}" for line in following)])


def capture(options: CaptureOptions, progress: Progress) -> Captured:
    """Record every batch size and write the traces and their manifest.

    Args:
        options: What to capture.
        progress: Called with a line for people whenever a step begins.

    Raises:
        TracediffError: No GPU, no working nsys, a model that cannot be loaded, files in the way, or a recording that
            nsys could not finish; what was recorded until then is kept and named.
    """
    environment = dict(os.environ)
    _require_capture_packages()
    require_device(options.device)
    new_folder = _claim_folder(options.folder, options.force)
    try:
        progress("trying nsys")
        tried = choose_nsys(environment, options.nsys)
        if tried.problem is not None:
            raise TracediffError(tried.problem, tried.hint)
        if not options.spec.is_preset:
            progress(f"fetching {options.spec.label}")
            model_directory(options.spec)
        with tempfile.TemporaryDirectory(prefix="tracediff-capture-", ignore_cleanup_errors=True) as temporary:
            return _Capture(options, tried.nsys, Path(temporary), progress).run(environment)
    finally:
        if new_folder and not any(options.folder.iterdir()):
            options.folder.rmdir()


class _Capture:
    """One capture's steps; everything that may hold an environment stays in the temporary folder."""

    def __init__(self, options: CaptureOptions, nsys: Nsys, temporary: Path, progress: Progress) -> None:
        self._options = options
        self._nsys = nsys
        self._temporary = temporary
        self._progress = progress
        self._captures = len(options.batches) * REPEATS
        self._warnings: list[str] = []

    def run(self, environment: dict[str, str]) -> Captured:
        small = small_environment(environment, self._temporary)
        facts = self._record(small)
        reports = self._reports()
        clean = []
        for number, report in enumerate(reports, start=1):
            self._progress(f"exporting {number} of {len(reports)}")
            clean.append(self._export(report, small))
        manifest = self._write(facts, clean, environment)
        kept = self._keep(reports) if self._options.keep_reports else ()
        return Captured(
            folder=self._options.folder, manifest=manifest, kept_reports=kept, warnings=tuple(self._warnings)
        )

    def _record(self, environment: dict[str, str]) -> dict[str, Any]:
        """Run nsys around the worker and return the facts that the worker reported."""
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
                env=environment,
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
                _stop(process, end_command(self._nsys.path, session), environment)
                raise
        reports += self._listen(reader)
        for report in reports:
            if report["event"] == "failed":
                raise TracediffError(report["message"], report["hint"])
        for report in reports:
            if report["event"] == "recorded":
                return report
        raise TracediffError(f"the recorded process ended early (nsys: {process.returncode})", self._last_words())

    def _listen(self, reader: ReportReader) -> list[dict[str, Any]]:
        news = list(reader.news())
        for report in news:
            if report["event"] == "loading":
                self._progress(f"loading {self._options.spec.label} in {self._options.spec.dtype}")
            elif report["event"] == "batch":
                self._progress(f"recording batch {report['batch']}")
        return news

    def _reports(self) -> list[Path]:
        """Return nsys's reports in the order of recording; what it could not import is kept for another try."""
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

    def _export(self, report: Path, environment: dict[str, str]) -> tuple[Path, Scrubbed]:
        exported, clean = report.with_suffix(".export.sqlite"), report.with_suffix(".clean.sqlite")
        done = subprocess.run(
            export_command(self._nsys.path, report, exported),
            cwd=self._temporary,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if not exported.is_file():
            kept = self._keep([report])
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

    def _write(
        self, facts: dict[str, Any], clean: list[tuple[Path, Scrubbed]], environment: dict[str, str]
    ) -> Manifest:
        options = self._options
        if options.device.startswith("cuda") and not all(counts.kernels for _, counts in clean):
            raise TracediffError(
                "nsys recorded no kernels", "is another profiler, or a monitor that profiles (DCGM), using the GPU?"
            )
        for name in listed_files(options.folder):
            (options.folder / name).unlink(missing_ok=True)
        entries = []
        for index, batch in enumerate(options.batches):
            (first, counts), (second, _) = clean[index * REPEATS : index * REPEATS + REPEATS]
            difference = first_difference(kernel_sequence(first), kernel_sequence(second))
            entry = TraceEntry(
                file=f"b{batch}.sqlite",
                batch=batch,
                kernels=counts.kernels,
                repeat_identical=difference is None,
                repeat_difference=difference,
                repeat_file=None if difference is None else f"b{batch}.repeat2.sqlite",
            )
            self._place(first, entry.file)
            if entry.repeat_file is not None:
                self._place(second, entry.repeat_file)
                self._warnings.append(
                    f"batch {batch}: the same forward, recorded twice, ran other kernels ({difference}); "
                    f"the second recording is {entry.repeat_file}"
                )
            entries.append(entry)
        if facts["algorithm_log"] == "unavailable" and options.device.startswith("cuda"):
            self._warnings.append("no cuBLASLt with a logger is loaded: the traces hold no algorithm marks")
        manifest = Manifest(
            model=options.spec.label,
            weights="random" if options.spec.is_preset else "real",
            dtype=options.spec.dtype,
            attention=options.spec.attention,
            layers=facts["layers"],
            geometry=facts["geometry"],
            seed=options.spec.seed,
            tokens=len(facts["prompt_tokens"]),
            prompt_tokens=facts["prompt_tokens"],
            decode_tokens=facts["decode_tokens"],
            gpu=facts["gpu"],
            sm_count=facts["sm_count"],
            algorithm_log=facts["algorithm_log"],
            settings={name: environment[name] for name in CHANGES_NUMBERS if name in environment},
            versions={**facts["versions"], "nsys": self._nsys.version},
            command=options.command,
            traces=entries,
        )
        write_text(options.folder / FILE_NAME, manifest.to_json(), force=True)
        return manifest

    def _place(self, source: Path, name: str) -> None:
        with replaced_when_complete(self._options.folder / name) as temporary:
            shutil.copyfile(source, temporary)

    def _keep(self, reports: list[Path]) -> tuple[Path, ...]:
        """Copy nsys's own reports into the folder."""
        kept = []
        for report in reports:
            position = _number(report) - 1
            batch, repeat = self._options.batches[position // REPEATS], position % REPEATS + 1
            kept.append(Path(shutil.copyfile(report, self._options.folder / f"b{batch}.repeat{repeat}.nsys-rep")))
        return tuple(kept)

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


def _claim_folder(folder: Path, force: bool) -> bool:
    """Make sure that the folder can be written to before anything takes time; return whether it is new."""
    if folder.exists() and not folder.is_dir():
        raise TracediffError(f"{folder} is a file", "name a folder with --out")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise TracediffError(f"{folder} holds files", "name another folder with --out, or add --force to replace them")
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TracediffError(f"cannot make {folder}", error.strerror) from error
    if not os.access(folder, os.W_OK):
        raise TracediffError(f"cannot write to {folder}", "name another folder with --out")
    return is_new


def _require_capture_packages() -> None:
    from importlib.util import find_spec  # noqa: PLC0415

    missing = [name for name in ("torch", "transformers", "nvtx") if find_spec(name) is None]
    if missing:
        raise TracediffError(f"{', '.join(missing)} not installed", "pip install 'nsys-tracediff[capture]'")


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
