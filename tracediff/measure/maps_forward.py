"""The whole forward at every row count: one decode step of one token per row, its bits and its time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tracediff.findings.maps import FORWARD, Count, ModuleMap
from tracediff.findings.remedies_catalog import Setting
from tracediff.measure.cached_keys import CachedKeys, decode_step, step_tokens
from tracediff.measure.maps_modules import checksum
from tracediff.measure.remedies_apply import applied
from tracediff.measure.timed_steps import timed_steps
from tracediff.model.logits_hashes import hash_of

_TIMED_RUNS = 3
_NANOSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRequest:
    """What to run.

    Attributes:
        setting: In force.
        rows: Row counts, ascending.
        keys: Cached keys.
        seed: Of tokens and keys.
    """

    setting: Setting
    rows: tuple[int, ...]
    keys: int
    seed: int


def measure_forward(model: Any, request: ForwardRequest, shape: str) -> ModuleMap:
    """Measure the forward; row counts that do not fit are left out, and said."""
    left_out: list[str] = []
    cached, rows = _cached_keys(model, request, left_out)
    # Before the first step, which writes its own keys behind the cached ones.
    inputs = "" if cached is None else checksum([*(each[:1] for each in cached.stores[0]), *model.parameters()])
    counts = []
    for count in rows if cached is not None else ():
        try:
            counts.append(_count(model, request, cached, count))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            left_out.append(f"{count} rows: out of memory")
    return ModuleMap(
        name=FORWARD,
        kind=FORWARD,
        shape=shape,
        keys=request.keys,
        inputs=inputs,
        counts=tuple(counts),
        left_out=tuple(left_out),
    )


def _cached_keys(model: Any, request: ForwardRequest, left_out: list[str]) -> tuple[CachedKeys | None, Sequence[int]]:
    """Return cached keys for as many of the row counts as fit, and those."""
    rows = request.rows
    while rows:
        try:
            return CachedKeys.random(model, rows[-1], request.keys, request.seed), rows
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            left_out.append(f"{rows[-1]} rows: out of memory")
            rows = rows[:-1]
    return None, ()


def _count(model: Any, request: ForwardRequest, cached: CachedKeys | None, rows: int) -> Count:
    assert cached is not None
    tokens = step_tokens(model, rows, seed=request.seed)
    with applied(request.setting, model):
        first, second = (hash_of(decode_step(model, tokens, cached, request.keys)[0]) for _ in range(2))
    with timed_steps(model, [request.setting.name], request.keys, rows, request.seed) as steps:
        step = steps[request.setting.name]
        took = [] if isinstance(step, str) else [step.milliseconds(1) for _ in range(_TIMED_RUNS)]
    return Count(
        rows=rows,
        bits=first if first == second else None,
        nanoseconds=round(statistics.median(took) * _NANOSECONDS) if took else None,
    )
