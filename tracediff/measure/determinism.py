"""Run operations, and a whole model's forward, again and again on the same input: do the bits repeat?

Imports torch inside functions. The deterministic setting on a GPU needs CUBLAS_WORKSPACE_CONFIG in the environment
before cuBLAS starts, and that variable may change what the default setting does; so it is measured in a process of its
own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from tracediff.bounds import require_number
from tracediff.dtypes import FORMATS, dtype_named
from tracediff.errors import TracediffError
from tracediff.findings.checked_json import decoded
from tracediff.findings.determinism import SETTINGS, DeterminismResult, Repeats
from tracediff.measure.determinism_operations import Inputs, Tensors, operations
from tracediff.measure.machine import machine_and_workspace
from tracediff.model.load import load_model, prompt_tokens, require_device
from tracediff.model.spec import DTYPES, ModelSpec
from tracediff.processes import run_program

_GPU_SIZES = (256, 2048)
_CPU_SIZES = (64, 512)
_WORKSPACE = ":4096:8"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterminismRequest:
    """What to repeat.

    Attributes:
        device: `cuda`, `cuda:N` or `cpu`.
        dtypes: Of the inputs.
        repeats: Runs of each operation.
        model: The model whose forward is repeated, or None.
        layers: Its blocks to keep; None all.
        tokens: Tokens of its prompt.
        seed: Of inputs, random weights and prompt.
    """

    device: str
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32")
    repeats: int = 30
    model: str | None = None
    layers: int | None = None
    tokens: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.repeats < 2:
            raise TracediffError(f"{self.repeats} repeats show nothing", "give --repeats 2 or more")
        require_number("--repeats", self.repeats)
        # An unknown dtype is refused before the first measurement.
        dtypes = tuple(dict.fromkeys(dtype_named(dtype, DTYPES) for dtype in self.dtypes))
        object.__setattr__(self, "dtypes", dtypes)


def measure_determinism(
    request: DeterminismRequest, progress: Callable[[str], None] = lambda text: None
) -> DeterminismResult:
    """Measure every operation in the default and in the deterministic setting.

    Args:
        request: What to repeat.
        progress: Called with what is running.

    Raises:
        TracediffError: No GPU, no model, no memory.
    """
    require_device(request.device)
    rows = list(measure_setting(request, "default", progress))
    if request.device.startswith("cuda"):
        _free_memory()
        progress("deterministic settings, in a process of their own")
        rows += _measure_elsewhere(request)
    else:
        rows += measure_setting(request, "deterministic", progress)
    return DeterminismResult(
        machine=machine_and_workspace(request.device),
        model=None if request.model is None else _spec(request, request.dtypes[0]).label,
        rows=tuple(rows),
    )


def measure_setting(
    request: DeterminismRequest, setting: str, progress: Callable[[str], None] = lambda text: None
) -> tuple[Repeats, ...]:
    """Measure in this process, in one of `SETTINGS`.

    Args:
        request: What to repeat.
        setting: Which setting.
        progress: Called with what is running.
    """
    import torch  # noqa: PLC0415

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(setting == SETTINGS[1])
    try:
        return tuple(_measure_all(request, setting, progress))
    finally:
        torch.use_deterministic_algorithms(before)


def repeat_operation(operation: Callable[[], Tensors], repeats: int, row: Repeats) -> Repeats:
    """Run an operation `repeats` times and compare every run with the first.

    Args:
        operation: Runs once and returns its output tensors.
        repeats: How often.
        row: What is known before; the returned row adds what was seen.
    """
    import torch  # noqa: PLC0415

    from tracediff.measure.bits import compare  # noqa: PLC0415 -- it imports torch

    try:
        first = tuple(output.clone() for output in operation())
        different, first_different = 0, None
        share, difference, ulp = 0.0, 0.0, 0.0
        for run in range(2, repeats + 1):
            for before, now in zip(first, operation(), strict=True):
                bits = compare(before, now)
                if bits.equal:
                    continue
                first_different = first_different or run
                different += 1
                share = max(share, bits.share)
                if before.is_floating_point():
                    difference, ulp = _largest(before, now, difference, ulp)
                break  # a run is counted once, whichever of its outputs differs
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise TracediffError(f"out of memory in {row.operation}", "use --layers or a smaller model") from error
        # The deterministic setting refuses some operations, and some dtypes are not implemented everywhere.
        return replace(row, refused=str(error).strip().splitlines()[0])
    is_float = any(output.is_floating_point() for output in first)
    return replace(
        row,
        repeats=repeats,
        first_different=first_different,
        different=different,
        largest_share=share,
        largest_difference=difference if is_float else None,
        largest_ulp=ulp if is_float else None,
        kernels=_kernels(operation) if first[0].is_cuda else (),
    )


def _measure_all(request: DeterminismRequest, setting: str, progress: Callable[[str], None]) -> list[Repeats]:
    rows = []
    sizes = _GPU_SIZES if request.device.startswith("cuda") else _CPU_SIZES
    for dtype in request.dtypes:
        for name, prepare in operations().items():
            for size in sizes:
                progress(f"{name}, {dtype}, {size}, {setting}")
                row = Repeats(operation=name, dtype=dtype, size=str(size), setting=setting, repeats=0)
                inputs = Inputs(dtype=dtype, size=size, device=request.device, seed=request.seed)
                rows.append(repeat_operation(prepare(inputs), request.repeats, row))
        if request.model is not None:
            progress(f"model forward, {dtype}, {setting}")
            rows.append(_measure_model(request, dtype, setting))
            _free_memory()
    return rows


def _spec(request: DeterminismRequest, dtype: str) -> ModelSpec:
    assert request.model is not None
    return ModelSpec(name=request.model, dtype=dtype, layers=request.layers, seed=request.seed)


def _measure_model(request: DeterminismRequest, dtype: str, setting: str) -> Repeats:
    import torch  # noqa: PLC0415

    spec = _spec(request, dtype)
    model = load_model(spec, request.device)
    tokens = prompt_tokens(spec, model, count=request.tokens)

    def forward() -> Tensors:
        with torch.inference_mode():
            return (model(input_ids=tokens, use_cache=False).logits,)

    row = Repeats(operation="model forward", dtype=dtype, size=f"{request.tokens} tokens", setting=setting, repeats=0)
    return repeat_operation(forward, request.repeats, row)


def _measure_elsewhere(request: DeterminismRequest) -> list[Repeats]:
    """Measure the deterministic setting in a process whose cuBLAS starts with a fixed workspace."""
    process = run_program(
        [sys.executable, "-m", "tracediff.measure.determinism_worker"],
        environment={**os.environ, "CUBLAS_WORKSPACE_CONFIG": _WORKSPACE},
        text=json.dumps(asdict(request)),
        separate_errors=True,
    )
    if process.code != 0:
        last_line = (process.errors.strip().splitlines() or ["no message"])[-1]
        raise TracediffError("the process that measures deterministic settings failed", last_line)
    return list(decoded(json.loads(process.output), tuple[Repeats, ...]))


def _largest(before: Any, now: Any, difference: float, ulp: float) -> tuple[float, float]:
    """Return the larger of what was known and the largest difference of two tensors, plain and in ULP."""
    a, b = before.detach().double().cpu().numpy(), now.detach().double().cpu().numpy()
    gaps = abs(a - b)
    spacing = FORMATS[str(before.dtype).removeprefix("torch.")].spacing(abs(a))
    return max(difference, float(gaps.max())), max(ulp, float((gaps / spacing).max()))


def _kernels(operation: Callable[[], Tensors]) -> tuple[str, ...]:
    """Return the names of the kernels that one run launches, in order, each once."""
    import torch  # noqa: PLC0415
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        operation()
        torch.cuda.synchronize()
    events = [event for event in profiler.events() if str(event.device_type).endswith("CUDA")]
    events.sort(key=lambda event: event.time_range.start)
    names = [event.name for event in events if not event.name.startswith(("Memcpy", "Memset"))]
    return tuple(dict.fromkeys(names))


def _free_memory() -> None:
    import gc  # noqa: PLC0415

    import torch  # noqa: PLC0415

    gc.collect()
    torch.cuda.empty_cache()
