"""Measure a map: every part of a model at every row count, then its whole forward.

One row is the same at every count; its bits, the kernels behind them and their time are kept. A map whose setting needs
an environment is measured in a process of its own. Finished modules are kept in `FILE.part`; the same command goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.files import is_stream, write_text
from tracediff.findings.maps import FORWARD, BatchMap, ModuleMap, map_from, module_from, module_to_json
from tracediff.findings.remedies_catalog import DEFAULT, setting_named
from tracediff.measure.part_file import OUT_OF_TIME, PartFile
from tracediff.model.spec import ModelSpec

Progress = Callable[[str], None]

FORWARD_ROWS = (*range(1, 33), 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
_EVERY_ATTENTION_COUNT_UP_TO = 64
_ATTENTION_STEP = 16


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
        setting = setting_named(self.setting)
        if setting.padded_batch is not None:
            raise TracediffError(
                "a map runs every row count as it is", "leave pad-batch out; --buckets says what padding makes equal"
            )
        object.__setattr__(self, "setting", setting.name)
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
    from tracediff.measure.maps_counts import HASHED  # noqa: PLC0415 -- it imports torch

    environment = setting_named(request.setting).environment if request.device != "cpu" else {}
    if any(os.environ.get(name) != value for name, value in environment.items()):
        return _measured_elsewhere(request, out, force, environment)
    asked = {**asdict(request), "minutes": None, "hashed": HASHED}
    part = PartFile.open(out, asked, request.minutes, force)
    modules = _measure(request, part, progress)
    result = BatchMap(
        machine=part.machine,
        model=request.spec.label,
        dtype=request.spec.dtype,
        setting=request.setting,
        layers=request.spec.layers,
        hashed=HASHED,
        modules=modules,
        notes=(OUT_OF_TIME,) if part.stopped else (),
    )
    part.finish(result.to_dict())
    return result


def _measured_elsewhere(request: MapRequest, out: Path | None, force: bool, environment: dict[str, str]) -> BatchMap:
    """Measure in a process that starts with the environment; its progress goes to the same stderr."""
    kept = out if out is None or not is_stream(out) else None
    order = {"request": asdict(request), "out": None if kept is None else str(kept), "force": force}
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
        raise TracediffError("the measuring process ended early", "see its output above") from error
    if "error" in answer:
        raise TracediffError(answer["error"])
    if out is not None and kept is None:
        write_text(out, process.stdout)
    return map_from(answer)


def _measure(request: MapRequest, part: PartFile, progress: Progress) -> tuple[ModuleMap, ...]:
    import torch  # noqa: PLC0415

    from tracediff.measure.fused_products import lay_weights_together  # noqa: PLC0415
    from tracediff.measure.machine import machine  # noqa: PLC0415
    from tracediff.measure.maps_counts import measure_part  # noqa: PLC0415
    from tracediff.measure.maps_forward import ForwardRequest, measure_forward  # noqa: PLC0415
    from tracediff.measure.maps_modules import MapPart, parts_of  # noqa: PLC0415
    from tracediff.measure.remedies_apply import applied  # noqa: PLC0415
    from tracediff.model.load import load_model  # noqa: PLC0415

    progress(f"loading {request.spec.label}")
    model = load_model(request.spec, request.device)
    lay_weights_together(model)
    part.runs_on(machine(request.device))
    setting = setting_named(request.setting)
    done = {each.identity: each for each in part.pieces("module", module_from)}
    found: list[ModuleMap] = []

    def rows_of(each: MapPart) -> tuple[int, ...]:
        return request.attention_rows if each.kind == "attention" else request.rows

    def take(identity: tuple[str, str, int | None], measure: Callable[[], ModuleMap]) -> None:
        if identity in done:
            found.append(done[identity])
        elif not part.time_is_up():
            name, _, keys = identity
            progress(name if keys is None else f"{name}, {keys} keys")
            found.append(measure())
            part.add("module", module_to_json(found[-1]))

    with torch.inference_mode(), applied(setting, model):
        for each in parts_of(model, setting, request.keys, request.spec.seed):
            take((each.name, each.shape, each.keys), partial(measure_part, each, rows_of(each), request.device))
    shape = f"{model.config.num_hidden_layers} blocks"
    for keys in request.keys if request.forward_rows else ():
        asked = ForwardRequest(setting=setting, rows=request.forward_rows, keys=keys, seed=request.spec.seed)
        take((FORWARD, shape, keys), partial(measure_forward, model, asked, shape))
    return tuple(sorted(found, key=lambda module: module.kind != FORWARD))


def request_from(data: dict[str, Any]) -> MapRequest:
    """Return a request from the JSON form that a measuring process is given."""
    lists = {name: tuple(data[name]) for name in ("rows", "forward_rows", "keys")}
    spec = ModelSpec(**data["spec"])
    if spec.is_directory:
        spec = replace(spec, name=str(Path(spec.name).resolve()))
    return MapRequest(**{**data, **lists, "spec": spec})
