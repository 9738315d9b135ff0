"""Measure every remedy: bits setting by setting, then times of all of them in alternation.

Some remedies need the environment set before the process starts, so the model lives in worker processes, one per
environment. For the times all workers hold it at once and take turns, so that every setting of a point is timed on the
same card within the same minute. What is done is written to `FILE.part`, one line per setting and point; the same
command goes on from there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite, write_text
from tracediff.findings.remedies import RemediesResult, SettingBits, TimedPoint, bits_from, bits_to_json, point_from
from tracediff.findings.remedies_catalog import RECOMMENDED, setting_named
from tracediff.measure.maps import Progress
from tracediff.measure.maps_clock import OUT_OF_TIME, Clock
from tracediff.measure.maps_part import PartFile
from tracediff.model.spec import ModelSpec
from tracediff.text import json_text

_SECONDS_PER_ROUND = 0.03
_FEWEST_REPEATS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RemediesRequest:
    """What to measure.

    Attributes:
        spec: The model.
        device: `cuda`, `cuda:N` or `cpu`.
        settings: Names of settings.
        keys: Numbers of cached keys of decode steps.
        batches: Batch sizes whose bits are compared.
        prefill_batches: The same for the prompt.
        timed_batches: Batch sizes that are timed.
        prompt: Tokens of the prompt.
        rounds: Rounds of timing in which every setting takes its turn.
        reference: Whether the error against float32 is measured; it needs the model in float32 for a moment.
        minutes: Start nothing after this; None goes on to the end.
    """

    spec: ModelSpec
    device: str
    settings: tuple[str, ...] = tuple(RECOMMENDED)
    keys: tuple[int, ...] = (300, 4000)
    batches: tuple[int, ...] = tuple(range(1, 65))
    prefill_batches: tuple[int, ...] = tuple(range(1, 17))
    timed_batches: tuple[int, ...] = (1, 8, 32, 64)
    prompt: int = 33
    rounds: int = 5
    reference: bool = True
    minutes: float | None = None

    def __post_init__(self) -> None:
        # One name per setting, however its parts were ordered.
        object.__setattr__(self, "settings", tuple(dict.fromkeys(setting_named(each).name for each in self.settings)))
        for what, values in (
            ("--keys", self.keys),
            ("--batch", self.batches),
            ("--prefill", self.prefill_batches),
            ("--timed", self.timed_batches),
        ):
            if not values or min(values) < (0 if what == "--keys" else 1) or len(set(values)) != len(values):
                raise TracediffError(f"{what} needs different numbers, each 1 or more", f"as in {what} 1 8 32")
        for name, value in (("--rounds", self.rounds), ("--prompt", self.prompt)):
            if value < 1:
                raise TracediffError(f"{name} {value} is too small", "give 1 or more")

    @property
    def usable(self) -> tuple[str, ...]:
        """The settings that mean something on this device."""
        on_cpu = self.device == "cpu"
        return tuple(
            name for name in self.settings if not (on_cpu and any(part.gpu_only for part in setting_named(name).parts))
        )


def measure_remedies(
    request: RemediesRequest, out: Path | None = None, *, force: bool = False, progress: Progress = lambda text: None
) -> RemediesResult:
    """Measure bits and times of every setting.

    Args:
        request: What to measure.
        out: Result file; with it the measurement can be resumed.
        force: Replace an existing `out`, and start over where an unfinished measurement lies beside it.
        progress: Called with what is running.

    Raises:
        TracediffError: No GPU, no model, no memory, `out` exists or belongs to another measurement.
    """
    if out is not None:
        refuse_to_overwrite(out, force)
    log = _Log(PartFile.open(out, {**asdict(request), "minutes": None}, force))
    clock = Clock.of(request.minutes)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        reference = _reference(request, Path(folder), log, progress) if request.reference else None
        workers = _Workers(request, stack, progress)
        _measure_bits(request, workers, log, reference, clock, progress)
        _measure_times(request, workers, log, clock, progress)
        result = _result(request, log, clock)
    if out is not None and not clock.stopped:
        write_text(out, json_text(result.to_dict()) + "\n", force)
        log.part.remove()
    return result


@dataclass(slots=True)
class _Log:
    """What has been measured so far."""

    part: PartFile
    bits: dict[str, SettingBits] = field(default_factory=dict)
    times: list[TimedPoint] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            for bits in map(bits_from, self.part.pieces("bits")):
                self.bits[bits.setting] = bits
            self.times += map(point_from, self.part.pieces("point"))
            self.failed |= dict(self.part.pieces("failed"))
            self.notes += self.part.pieces("note")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TracediffError(
                f"{self.part.lines.path} is damaged", "remove it, or add --force to start over"
            ) from error

    def add_bits(self, bits: SettingBits) -> None:
        """Keep one setting's bits."""
        self.bits[bits.setting] = bits
        self.part.add("bits", bits_to_json(bits))

    def add_point(self, point: TimedPoint) -> None:
        """Keep one point's times."""
        self.times.append(point)
        self.part.add("point", asdict(point))

    def add_failure(self, setting: str, why: str) -> None:
        """Keep why a setting could not be measured."""
        self.failed[setting] = why
        self.part.add("failed", [setting, why])

    def add_note(self, note: str) -> None:
        """Keep what a reader must know."""
        self.notes.append(note)
        self.part.add("note", note)


# -- workers ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Process:
    """A running worker."""

    process: subprocess.Popen[str]
    machine: dict[str, str | None] = field(default_factory=dict)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send one order and wait for its answer.

        Raises:
            TracediffError: The worker refused, or ended.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise TracediffError("a measuring process ended early", "its last words stand above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TracediffError(answer["error"])
        return answer


@contextmanager
def _worker(environment: dict[str, str]) -> Iterator[_Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tracediff.measure.remedies_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    )
    try:
        yield _Process(process)
    finally:
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass(slots=True)
class _Workers:
    """One worker per environment, started when it is first needed."""

    request: RemediesRequest
    stack: ExitStack
    progress: Progress
    running: dict[tuple[tuple[str, str], ...], _Process] = field(default_factory=dict)

    def of(self, setting: str) -> _Process:
        """Return the worker whose environment a setting needs."""
        environment = setting_named(setting).environment if self.request.device != "cpu" else {}
        key = tuple(sorted(environment.items()))
        if key not in self.running:
            self.progress(f"loading {self.request.spec.label}" + "".join(f", {name}={value}" for name, value in key))
            worker = self.stack.enter_context(_worker(environment))
            spec = _absolute(self.request.spec)
            worker.machine = worker.ask({"load": asdict(spec), "device": self.request.device})["machine"]
            self.running[key] = worker
        return self.running[key]


def _absolute(spec: ModelSpec) -> ModelSpec:
    return replace(spec, name=str(Path(spec.name).resolve())) if spec.is_directory else spec


# -- what is measured -------------------------------------------------------------------------------------------------


def _reference(request: RemediesRequest, folder: Path, log: _Log, progress: Progress) -> Path | None:
    """Write float32 logits of the model's own weights, or say why there are none."""
    if all(name in log.bits for name in request.usable):
        return None
    path = folder / "reference.pt"
    progress("float32 logits of the same weights")
    try:
        with _worker({}) as worker:
            worker.ask({"load": asdict(_absolute(request.spec)), "device": request.device})
            worker.ask({"reference": str(path), "prompt": request.prompt, "seed": request.spec.seed})
    except TracediffError as error:
        log.add_note(f"no error against float32: {error}")
        return None
    return path


def _measure_bits(
    request: RemediesRequest, workers: _Workers, log: _Log, reference: Path | None, clock: Clock, progress: Progress
) -> None:
    order = {
        "keys": request.keys,
        "batches": request.batches,
        "prefill_batches": request.prefill_batches,
        "prompt": request.prompt,
        "seed": request.spec.seed,
    }
    for setting in request.usable:
        if setting in log.bits or setting in log.failed:
            continue
        if clock.over():
            return
        worker = workers.of(setting)
        log.part.runs_on(worker.machine)
        progress(f"bits, {setting}")
        try:
            answer = worker.ask(
                {"bits": setting, "request": order, "reference": None if reference is None else str(reference)}
            )
            log.add_bits(bits_from(answer["bits"]))
        except TracediffError as error:
            if worker.process.poll() is not None:
                raise
            log.add_failure(setting, str(error))


def _measure_times(request: RemediesRequest, workers: _Workers, log: _Log, clock: Clock, progress: Progress) -> None:
    done = {(point.keys, point.batch) for point in log.times}
    settings = [name for name in request.usable if name not in log.failed]
    for keys in request.keys:
        for batch in request.timed_batches:
            if (keys, batch) in done:
                continue
            if clock.over():
                return
            progress(f"times, {keys} cached keys, batch {batch}")
            point = _time_point(request, workers, settings, keys, batch, log)
            if point.rounds:
                log.add_point(point)


def _time_point(
    request: RemediesRequest, workers: _Workers, settings: Sequence[str], keys: int, batch: int, log: _Log
) -> TimedPoint:
    """Time all settings in turns; each round asks every worker, in the other direction every second time."""
    by_worker: dict[int, tuple[_Process, list[str]]] = {}
    for setting in settings:
        worker = workers.of(setting)
        log.part.runs_on(worker.machine)
        by_worker.setdefault(id(worker), (worker, []))[1].append(setting)
    ready: dict[str, _Process] = {}
    replayed = False
    for worker, names in by_worker.values():
        answer = worker.ask({"prepare": names, "keys": keys, "batch": batch, "seed": request.spec.seed})
        replayed = replayed or answer["replayed"]
        for name, why in answer["prepared"].items():
            if why is None:
                ready[name] = worker
            else:
                log.add_note(f"{name} at batch {batch} and {keys} cached keys was not timed: {why}")
    repeats = {name: _repeats(worker, name) for name, worker in ready.items()}
    rounds: dict[str, list[float]] = {name: [] for name in settings if name in ready}
    for number in range(request.rounds):
        for name in list(rounds)[:: 1 if number % 2 == 0 else -1]:
            answer = ready[name].ask({"time": name, "repeats": repeats[name]})
            rounds[name].append(round(answer["milliseconds"], 5))
    for worker, _ in by_worker.values():
        worker.ask({"release": True})
    return TimedPoint(
        keys=keys, batch=batch, rounds={name: tuple(times) for name, times in rounds.items()}, replayed=replayed
    )


def _repeats(worker: _Process, name: str) -> int:
    """Return how many steps make a round: enough to be measured, few where one takes long."""
    once = worker.ask({"time": name, "repeats": 2})["milliseconds"] / 1e3
    return max(_FEWEST_REPEATS, int(_SECONDS_PER_ROUND / max(once, 1e-6)))


def _result(request: RemediesRequest, log: _Log, clock: Clock) -> RemediesResult:
    notes = list(dict.fromkeys(log.notes))
    left_out = [name for name in request.settings if name not in request.usable]
    if left_out:
        notes.append(f"left out on the CPU: {', '.join(left_out)}")
    if clock.stopped:
        notes.append(OUT_OF_TIME)
    return RemediesResult(
        machine=log.part.machine,
        model=request.spec.label,
        dtype=request.spec.dtype,
        layers=request.spec.layers,
        batches=request.batches,
        prefill_batches=request.prefill_batches,
        bits=tuple(log.bits[name] for name in request.usable if name in log.bits),
        times=tuple(log.times),
        failed=log.failed,
        notes=tuple(notes),
    )
