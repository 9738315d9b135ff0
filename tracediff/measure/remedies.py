"""Measure every remedy: bits setting by setting, then times of all of them in alternation.

Some remedies need the environment set before the process starts, so the model lives in worker processes, one per
environment. Bits are compared in all of them at once. For the times they take turns, so that nothing else runs on the
card and every setting of a point is timed within the same minute. What is done is written to `FILE.part`, one line per
setting and point; the same command goes on from there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock

from tracediff.bounds import require_number
from tracediff.errors import TracediffError
from tracediff.findings.remedies import RemediesResult, SettingBits, TimedPoint, bits_from, bits_to_json, point_from
from tracediff.findings.remedies_catalog import RECOMMENDED, setting_named
from tracediff.measure.maps import Progress
from tracediff.measure.part_file import OUT_OF_TIME, PartFile
from tracediff.measure.remedies_workers import WorkerProcess, Workers, at_once, worker_process
from tracediff.model.spec import ModelSpec

_SECONDS_PER_ROUND = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class RemediesRequest:
    """What to measure.

    Attributes:
        spec: The model.
        device: `cuda`, `cuda:N` or `cpu`.
        settings: Names of settings whose bits are compared and that are timed.
        beside: Names of settings that are only timed, in the same rounds.
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
    beside: tuple[str, ...] = ()
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
        settings = tuple(dict.fromkeys(setting_named(each).name for each in self.settings))
        beside = dict.fromkeys(setting_named(each).name for each in self.beside)
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "beside", tuple(name for name in beside if name not in settings))
        for what, values in (
            ("--keys", self.keys),
            ("--batch", self.batches),
            ("--prefill", self.prefill_batches),
            ("--timed", self.timed_batches),
        ):
            if not values or min(values) < (0 if what == "--keys" else 1) or len(set(values)) != len(values):
                raise TracediffError(f"{what} needs different numbers, each 1 or more", f"as in {what} 1 8 32")
            for value in values:
                require_number(what, value, 0)
        require_number("--rounds", self.rounds)
        require_number("--prompt", self.prompt)

    @property
    def compared(self) -> tuple[str, ...]:
        """The settings whose bits are compared: those that mean something on this device."""
        return self._usable(self.settings)

    @property
    def timed(self) -> tuple[str, ...]:
        """The settings that are timed."""
        return self._usable((*self.settings, *self.beside))

    def _usable(self, names: Sequence[str]) -> tuple[str, ...]:
        if self.device != "cpu":
            return tuple(names)
        return tuple(name for name in names if not any(part.gpu_only for part in setting_named(name).parts))


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
    part = PartFile.open(out, {**asdict(request), "minutes": None}, request.minutes, force)
    log = _Log(part)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        reference = _reference(request, Path(folder), log, progress) if request.reference else None
        workers = Workers(request.spec, request.device, stack, progress)
        _measure_bits(request, workers, log, reference, progress)
        _measure_times(request, workers, log, progress)
        result = _result(request, log)
    part.finish(result.to_dict())
    return result


@dataclass(slots=True)
class _Log:
    """What has been measured so far. Threads add to it."""

    part: PartFile
    bits: dict[str, SettingBits] = field(default_factory=dict)
    times: list[TimedPoint] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.bits |= {bits.setting: bits for bits in self.part.pieces("bits", bits_from)}
        self.times += self.part.pieces("point", point_from)
        self.failed |= dict(self.part.pieces("failed", lambda piece: (str(piece[0]), str(piece[1]))))
        self.notes += self.part.pieces("note", str)

    def add_bits(self, bits: SettingBits) -> None:
        """Keep one setting's bits."""
        with self.lock:
            self.bits[bits.setting] = bits
            self.part.add("bits", bits_to_json(bits))

    def add_failure(self, setting: str, why: str) -> None:
        """Keep why a setting could not be measured."""
        with self.lock:
            self.failed[setting] = why
            self.part.add("failed", [setting, why])

    def add_point(self, point: TimedPoint) -> None:
        """Keep one point's times."""
        self.times.append(point)
        self.part.add("point", asdict(point))

    def add_note(self, note: str) -> None:
        """Keep what a reader must know."""
        self.notes.append(note)
        self.part.add("note", note)


def _reference(request: RemediesRequest, folder: Path, log: _Log, progress: Progress) -> Path | None:
    """Write float32 logits of the model's own weights, or say why there are none."""
    if all(name in log.bits for name in request.compared):
        return None
    path = folder / "reference.pt"
    progress("float32 logits of the same weights")
    try:
        with worker_process() as worker:
            worker.load(request.spec, request.device)
            worker.ask({"reference": str(path), "prompt": request.prompt, "seed": request.spec.seed})
    except TracediffError as error:
        log.add_note(f"no error against float32: {error}")
        return None
    return path


def _measure_bits(
    request: RemediesRequest, workers: Workers, log: _Log, reference: Path | None, progress: Progress
) -> None:
    """Compare bits in every worker at once, setting by setting in each."""
    todo = [name for name in request.compared if name not in log.bits and name not in log.failed]
    if not todo or log.part.time_is_up():
        return
    by_worker = workers.of(todo)
    order = {
        "keys": request.keys,
        "batches": request.batches,
        "prefill_batches": request.prefill_batches,
        "prompt": request.prompt,
        "seed": request.spec.seed,
    }

    def compare(worker: WorkerProcess) -> None:
        for setting in by_worker[worker]:
            if log.part.time_is_up():
                return
            progress(f"bits, {setting}")
            try:
                answer = worker.ask(
                    {"bits": setting, "request": order, "reference": None if reference is None else str(reference)}
                )
                log.add_bits(bits_from(answer["bits"]))
            except TracediffError as error:
                if worker.ended:
                    raise
                log.add_failure(setting, str(error))

    for worker in by_worker:
        log.part.runs_on(worker.machine)
    try:
        at_once(compare, list(by_worker))
    except BaseException:
        log.part.stopped = True  # the other threads start nothing more
        raise


def _measure_times(request: RemediesRequest, workers: Workers, log: _Log, progress: Progress) -> None:
    done = {(point.keys, point.batch) for point in log.times}
    settings = [name for name in request.timed if name not in log.failed]
    for keys in request.keys:
        for batch in request.timed_batches:
            if (keys, batch) in done:
                continue
            if log.part.time_is_up():
                return
            by_worker = workers.of(settings)
            for worker in by_worker:
                log.part.runs_on(worker.machine)
            progress(f"times, {keys} cached keys, batch {batch}")
            point = _time_point(request, by_worker, keys, batch, log)
            if point.rounds:
                log.add_point(point)


def _time_point(
    request: RemediesRequest, by_worker: dict[WorkerProcess, list[str]], keys: int, batch: int, log: _Log
) -> TimedPoint:
    """Time all settings in turns, every second round in the other direction."""
    workers = list(by_worker)
    order = {"keys": keys, "batch": batch, "seed": request.spec.seed}
    answers = at_once(lambda worker: worker.ask({"prepare": by_worker[worker], **order}), workers)
    ready: dict[str, WorkerProcess] = {}
    for worker, answer in zip(workers, answers, strict=True):
        for name, why in answer["prepared"].items():
            if why is None:
                ready[name] = worker
            else:
                log.add_note(f"{name} at batch {batch} and {keys} cached keys was not timed: {why}")
    repeats = {name: _repeats(worker, name) for name, worker in ready.items()}
    rounds: dict[str, list[float]] = {name: [] for name in request.timed if name in ready}
    for number in range(request.rounds):
        for name in list(rounds)[:: 1 if number % 2 == 0 else -1]:
            answer = ready[name].ask({"time": name, "repeats": repeats[name]})
            rounds[name].append(round(answer["milliseconds"], 5))
    at_once(lambda worker: worker.ask({"release": True}), workers)
    return TimedPoint(
        keys=keys,
        batch=batch,
        rounds={name: tuple(times) for name, times in rounds.items()},
        replayed=any(answer["replayed"] for answer in answers),
    )


def _repeats(worker: WorkerProcess, name: str) -> int:
    """Return how many steps make a round: enough to be measured, one where it takes long."""
    once = worker.ask({"time": name, "repeats": 1})["milliseconds"] / 1e3
    return max(1, int(_SECONDS_PER_ROUND / max(once, 1e-6)))


def _result(request: RemediesRequest, log: _Log) -> RemediesResult:
    notes = list(dict.fromkeys(log.notes))
    left_out = [name for name in (*request.settings, *request.beside) if name not in request.timed]
    if left_out:
        notes.append(f"left out on the CPU: {', '.join(left_out)}")
    if log.part.stopped:
        notes.append(OUT_OF_TIME)
    return RemediesResult(
        machine=log.part.machine,
        model=request.spec.label,
        dtype=request.spec.dtype,
        layers=request.spec.layers,
        batches=request.batches,
        prefill_batches=request.prefill_batches,
        bits=tuple(log.bits[name] for name in request.compared if name in log.bits),
        times=tuple(log.times),
        failed=log.failed,
        notes=tuple(notes),
    )
