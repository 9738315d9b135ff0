"""A decode step that is ready to be timed: on a GPU a CUDA graph, so that only the GPU's time counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from tracediff.findings.remedies_catalog import Setting, setting_named
from tracediff.measure.cached_keys import CachedKeys, decode_step, step_tokens
from tracediff.measure.remedies_apply import applied


@dataclass(slots=True)
class TimedStep:
    """A decode step that is ready to be timed.

    Attributes:
        run: Runs it once.
        on_gpu: Whether `run` replays a CUDA graph.
        held: What must stay alive while it runs.
    """

    run: Callable[[], Any]
    on_gpu: bool
    held: tuple[Any, ...] = ()

    def milliseconds(self, repeats: int) -> float:
        """Return the mean time of `repeats` steps that follow each other."""
        if not self.on_gpu:
            begin = time.perf_counter()
            for _ in range(repeats):
                self.run()
            return (time.perf_counter() - begin) * 1e3 / repeats
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.run()
        start.record()
        for _ in range(repeats):
            self.run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / repeats


@contextmanager
def timed_steps(
    model: Any, names: Sequence[str], keys: int, batch: int, seed: int
) -> Iterator[dict[str, TimedStep | str]]:
    """Yield for each setting the step at one point, ready to be timed, or why it cannot be.

    On a GPU each is captured into a CUDA graph; all of them share the cached keys.
    """
    device = next(model.parameters()).device
    prepared: dict[str, TimedStep | str] = {}
    stores: dict[int, CachedKeys] = {}
    for name in names:
        setting = setting_named(name)
        rows = setting.rows(batch)
        try:
            if rows not in stores:
                stores[rows] = CachedKeys.random(model, rows, keys, seed)
            prepared[name] = _prepared(model, setting, stores[rows], rows, keys, device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            prepared[name] = "out of memory"
        except Exception as error:  # whatever a setting refuses is its answer, and the others go on
            prepared[name] = first_line(error)
    try:
        yield prepared
    finally:
        prepared.clear()
        stores.clear()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _prepared(
    model: Any, setting: Setting, cached: CachedKeys, rows: int, keys: int, device: torch.device
) -> TimedStep:
    tokens = step_tokens(model, rows)

    def step() -> torch.Tensor:
        with applied(setting, model):
            return decode_step(model, tokens, cached, keys)

    if device.type != "cuda":
        step()
        return TimedStep(run=step, on_gpu=False)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()  # libraries make workspaces and plans, Triton compiles: none of it may happen in the capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = step()
    return TimedStep(run=graph.replay, on_gpu=True, held=(graph, logits, tokens, cached))


def first_line(error: Exception) -> str:
    """Return the first line of what a library says, at most 160 characters of it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
