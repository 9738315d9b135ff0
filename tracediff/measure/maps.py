"""Measure a map: every part of a model at every row count, then its whole forward.

One row is the same at every count; its bits, the kernels behind them and their time are kept. A map whose setting needs
an environment is measured in a process of its own. Finished modules stand in `FILE.part`; the same command goes on.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite, write_text
from tracediff.findings.maps import FORWARD, BatchMap, Count, ModuleMap, module_from, module_to_json
from tracediff.findings.remedies_catalog import DEFAULT, setting_named
from tracediff.measure.maps_clock import OUT_OF_TIME, Clock
from tracediff.measure.maps_part import PartFile
from tracediff.model.spec import ModelSpec

Progress = Callable[[str], None]

FORWARD_ROWS = (*range(1, 33), 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
_HASH_CHARACTERS = 16
_TIMED_RUNS = 3
# Attention has been seen to vary from run to run at a few runs in a hundred; two runs would miss most of it.
_ATTENTION_RUNS = 16
_EVERY_ATTENTION_COUNT_UP_TO = 64
_ATTENTION_STEP = 16
_MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRequest:
    """What to map.

    Attributes:
        spec: The model.
        device: `cuda`, `cuda:N` or `cpu`.
        setting: Name of the setting that is in force.
        rows: Row counts of the parts.
        forward_rows: Row counts of the whole forward, one new token per row.
        keys: Cached keys of attention and of the forward.
        minutes: Start no module after this; None goes on to the end.
    """

    spec: ModelSpec
    device: str
    setting: str = DEFAULT
    rows: tuple[int, ...] = tuple(range(1, 513))
    forward_rows: tuple[int, ...] = FORWARD_ROWS
    keys: tuple[int, ...] = (300,)
    minutes: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "setting", setting_named(self.setting).name)
        object.__setattr__(self, "rows", tuple(sorted(set(self.rows))))
        object.__setattr__(self, "forward_rows", tuple(sorted(set(self.forward_rows))))
        object.__setattr__(self, "keys", tuple(dict.fromkeys(self.keys)))
        if not self.rows or self.rows[0] < 1 or (self.forward_rows and self.forward_rows[0] < 1):
            raise TracediffError("row counts start at 1", "as in --rows 1-512")
        if any(keys < 0 for keys in self.keys):
            raise TracediffError("a number of cached keys is 0 or more", "as in --keys 0,300,2000")

    @property
    def attention_rows(self) -> tuple[int, ...]:
        """Row counts of attention: all up to 64, then every 16th, since cuDNN plans each new shape for long."""
        return tuple(
            rows
            for rows in self.rows
            if rows <= _EVERY_ATTENTION_COUNT_UP_TO or rows % _ATTENTION_STEP == 0 or rows in self.forward_rows
        )


def measure_map(
    request: MapRequest, out: Path | None = None, *, force: bool = False, progress: Progress = lambda text: None
) -> BatchMap:
    """Measure a map.

    Args:
        request: What to map.
        out: Result file; with it the measurement can be resumed.
        force: Replace an existing `out`, and start over where an unfinished map lies beside it.
        progress: Called with what is running.

    Raises:
        TracediffError: No GPU, no model, no memory, `out` exists or belongs to another map.
    """
    if out is not None:
        refuse_to_overwrite(out, force)
    environment = setting_named(request.setting).environment if request.device != "cpu" else {}
    if any(os.environ.get(name) != value for name, value in environment.items()):
        return _measured_elsewhere(request, out, force, environment)
    part = PartFile.open(out, {**asdict(request), "minutes": None}, force)
    clock = Clock.of(request.minutes)
    modules = _measure(request, part, clock, progress)
    notes = tuple(dict.fromkeys((*part.pieces("note"), *((OUT_OF_TIME,) if clock.stopped else ()))))
    result = BatchMap(
        machine=part.machine,
        model=request.spec.label,
        dtype=request.spec.dtype,
        setting=request.setting,
        layers=request.spec.layers,
        modules=modules,
        notes=notes,
    )
    if out is not None and not clock.stopped:
        write_text(out, json.dumps(result.to_dict(), ensure_ascii=False, separators=(",", ":")) + "\n", force)
        part.remove()
    return result


def _measured_elsewhere(request: MapRequest, out: Path | None, force: bool, environment: dict[str, str]) -> BatchMap:
    """Measure in a process that starts with the environment; its progress goes to the same stderr."""
    order = {"request": asdict(request), "out": None if out is None else str(out), "force": force}
    process = subprocess.run(
        [sys.executable, "-m", "tracediff.measure.maps_worker"],
        input=json.dumps(order),
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
        check=False,
    )
    try:
        answer = json.loads(process.stdout)
    except ValueError as error:
        raise TracediffError("the measuring process ended early", "its last words stand above") from error
    if "error" in answer:
        raise TracediffError(answer["error"])
    return map_from(answer)


def map_from(data: dict[str, Any]) -> BatchMap:
    """Return a map from the JSON form that a measuring process hands over."""
    modules = tuple(module_from(each) for each in data["modules"])
    fields = {name: data[name] for name in ("machine", "model", "dtype", "setting", "layers")}
    return BatchMap(**fields, modules=modules, notes=tuple(data["notes"]))


def _measure(request: MapRequest, part: PartFile, clock: Clock, progress: Progress) -> tuple[ModuleMap, ...]:
    import torch  # noqa: PLC0415

    from tracediff.measure.maps_machine import machine  # noqa: PLC0415
    from tracediff.measure.maps_modules import parts_of  # noqa: PLC0415
    from tracediff.measure.remedies_apply import applied  # noqa: PLC0415
    from tracediff.model.load import load_model  # noqa: PLC0415

    progress(f"loading {request.spec.label}")
    model = load_model(request.spec, request.device)
    part.runs_on(machine(request.device))
    setting = setting_named(request.setting)
    done = {each.identity: each for each in map(module_from, part.pieces("module"))}
    found: list[ModuleMap] = []

    def take(identity: tuple[str, str, int | None], measure: Callable[[], ModuleMap]) -> None:
        if identity in done:
            found.append(done[identity])
        elif not clock.over():
            name, _, keys = identity
            progress(name if keys is None else f"{name}, {keys} keys")
            found.append(measure())
            part.add("module", module_to_json(found[-1]))

    with torch.inference_mode(), applied(setting, model):
        for each in parts_of(model, setting, request.keys, request.spec.seed):
            take((each.name, each.shape, each.keys), partial(_measure_part, each, request))
    shape = f"{model.config.num_hidden_layers} blocks"
    for keys in request.keys if request.forward_rows else ():
        take((FORWARD, shape, keys), partial(_measure_forward, model, request, keys, shape))
    return tuple(sorted(found, key=lambda module: module.kind != FORWARD))


# -- one part ---------------------------------------------------------------------------------------------------------


def _measure_part(part: Any, request: MapRequest) -> ModuleMap:
    import torch  # noqa: PLC0415

    rows, left_out = list(request.attention_rows if part.kind == "attention" else request.rows), []
    while True:
        try:
            running = part.prepare(rows[-1])
            counts = _counts(running, rows, request, more_runs=_ATTENTION_RUNS if part.kind == "attention" else 0)
            break
        except torch.OutOfMemoryError:
            # Half of the rows may fit where all do not; what is left out is said.
            running = None
            torch.cuda.empty_cache()
            dropped = [each for each in rows if each > rows[-1] // 2]
            rows = [each for each in rows if each <= rows[-1] // 2]
            left_out.append(f"{dropped[0]}–{dropped[-1]} rows: out of memory")
            if not rows:
                return _module(part, "", (), left_out)
    return _module(part, running.inputs, counts, left_out)


def _module(part: Any, inputs: str, counts: tuple[Count, ...], left_out: list[str]) -> ModuleMap:
    return ModuleMap(
        name=part.name,
        kind=part.kind,
        shape=part.shape,
        keys=part.keys,
        inputs=inputs,
        counts=counts,
        left_out=tuple(left_out),
    )


def _counts(running: Any, rows: Sequence[int], request: MapRequest, more_runs: int) -> tuple[Count, ...]:
    """Run every row count a few times: copy 0 first and last for the bits, other weights between for the time.

    `more_runs` are for the bits alone, outside the profiler.
    """
    import torch  # noqa: PLC0415

    from tracediff.findings.maps_order import order_in_words, predicted  # noqa: PLC0415
    from tracediff.measure.maps_profile import RANGE, algorithm_lines, kernels_of, profiled  # noqa: PLC0415

    on_gpu = request.device.startswith("cuda")
    running.run(rows[0], 0)  # libraries load here, before their log is sought
    outputs: list[tuple[Any, Any]] = []
    logs: list[list[str]] = []
    seconds: list[list[float]] = []
    others = 0
    with profiled(on_gpu) as events, algorithm_lines(on_gpu) as log:
        for count in rows:
            both, taken = [], []
            for attempt in range(1 + _TIMED_RUNS):
                copy = 0
                if 0 < attempt < _TIMED_RUNS and running.copies > 1:
                    others += 1
                    copy = 1 + others % (running.copies - 1)
                log.clear()
                begin = time.perf_counter()
                with torch.profiler.record_function(f"{RANGE}{count} {attempt}"):
                    output = running.run(count, copy)
                taken.append(time.perf_counter() - begin)
                if attempt == 0:
                    logs.append(list(log))
                if copy == 0 and attempt in (0, _TIMED_RUNS):
                    both.append(output[0].clone())
            outputs.append((both[0], both[1]))
            seconds.append(taken[1:])
    varying = [_varies(running, count, outputs[place][0], more_runs) for place, count in enumerate(rows)]
    sm_count = torch.cuda.get_device_properties(request.device).multi_processor_count if on_gpu else None
    counts: list[Count] = []
    before: tuple[Any, ...] = ()
    for place, count in enumerate(rows):
        kernels = kernels_of(events.get(f"{count} 0", []), logs[place], sm_count)
        verdict, reason = predicted(before, kernels) if before and kernels else (None, None)
        counts.append(
            Count(
                rows=count,
                bits=None if varying[place] else _hash_of_both(*outputs[place]),
                order=order_in_words(kernels),
                kernels=tuple(dict.fromkeys(kernel.parsed.kernel or kernel.parsed.name for kernel in kernels)),
                nanoseconds=_nanoseconds(events, count, seconds[place], on_gpu),
                predicted=None if verdict is None else verdict.value,
                reason=reason,
            )
        )
        before = kernels
    return tuple(counts)


def _varies(running: Any, count: int, first: Any, runs: int) -> bool:
    """Whether one of `runs` more runs gives other bits than the first; one look at the device for all of them."""
    import torch  # noqa: PLC0415

    if runs == 0:
        return False
    bits = first.view(torch.int16 if first.element_size() == 2 else torch.int32)
    return bool(
        torch.stack([(running.run(count, 0)[0].contiguous().view(bits.dtype) != bits).any() for _ in range(runs)]).any()
    )


def _hash_of_both(first: Any, second: Any) -> str | None:
    from tracediff.model.logits_hashes import hash_of  # noqa: PLC0415

    bits = hash_of(first)[:_HASH_CHARACTERS]
    return bits if hash_of(second)[:_HASH_CHARACTERS] == bits else None


def _nanoseconds(events: dict[str, list[Any]], count: int, seconds: Sequence[float], on_gpu: bool) -> int | None:
    if not on_gpu:
        return round(statistics.median(seconds) * 1e9)
    runs = [events.get(f"{count} {attempt}", []) for attempt in range(1, 1 + _TIMED_RUNS)]
    if not all(runs):
        return None
    return round(statistics.median(float(sum(event["dur"] for event in run)) for run in runs) * 1000)


# -- the whole forward ------------------------------------------------------------------------------------------------


def _measure_forward(model: Any, request: MapRequest, keys: int, shape: str) -> ModuleMap:
    import torch  # noqa: PLC0415

    from tracediff.measure.maps_cache import CachedKeys, decode_step, step_tokens  # noqa: PLC0415
    from tracediff.measure.maps_modules import checksum  # noqa: PLC0415
    from tracediff.measure.remedies_apply import applied  # noqa: PLC0415
    from tracediff.measure.remedies_step import timed_steps  # noqa: PLC0415

    rows, left_out = list(request.forward_rows), []
    counts: list[Count] = []
    tokens = step_tokens(model, rows[-1], seed=request.spec.seed)
    cached = None
    while rows and cached is None:
        try:
            cached = CachedKeys.random(model, rows[-1], keys, request.spec.seed)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            left_out.append(f"{rows[-1]} rows: out of memory")
            rows.pop()
    for count in rows:
        try:
            with applied(setting_named(request.setting), model):
                both = [decode_step(model, tokens[:count], cached, keys)[0] for _ in range(2)]  # type: ignore[arg-type]
            bits = _hash_of_both(*both)
            with timed_steps(model, [request.setting], keys, count, request.spec.seed) as steps:
                step = steps[request.setting]
                took = None if isinstance(step, str) else [step.milliseconds(2) for _ in range(_TIMED_RUNS)]
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            left_out.append(f"{count} rows: out of memory")
            continue
        counts.append(
            Count(
                rows=count,
                bits=bits,
                nanoseconds=None if took is None else round(statistics.median(took) * _MILLISECOND),
            )
        )
    inputs = checksum([*(store[:1] for store in cached.stores[0]), *model.parameters()]) if cached is not None else ""
    return ModuleMap(
        name=FORWARD,
        kind=FORWARD,
        shape=shape,
        keys=keys,
        inputs=inputs,
        counts=tuple(counts),
        left_out=tuple(left_out),
    )


def request_from(data: dict[str, Any]) -> MapRequest:
    """Return a request from the JSON form that a measuring process is given."""
    lists = {name: tuple(data[name]) for name in ("rows", "forward_rows", "keys")}
    spec = ModelSpec(**data["spec"])
    if spec.is_directory:
        spec = replace(spec, name=str(Path(spec.name).resolve()))
    return MapRequest(**{**data, **lists, "spec": spec})
