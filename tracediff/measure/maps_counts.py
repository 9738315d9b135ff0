"""One part of a model at every row count: bits of row 0, kernels, order of the sum, time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tracediff.diff.result import Kernel
from tracediff.findings.maps import Count, ModuleMap
from tracediff.findings.maps_order import order_in_words, predicted
from tracediff.measure.maps_modules import MapPart, RunningPart
from tracediff.measure.profiled_kernels import RANGE, algorithm_lines, kernels_of, profiled
from tracediff.model.logits_hashes import hash_of

HASHED = "splitmix64-sum-2"
"""The hash of `tracediff.model.fingerprint`. Another function needs another name: maps compare by it."""
_TIMED_RUNS = 3
# Attention has been seen to vary from run to run at a few runs in a hundred; two runs would miss most of it.
_MORE_RUNS = {"attention": 16}


def measure_part(part: MapPart, rows: Sequence[int], device: str) -> ModuleMap:
    """Measure one part; where memory ends, the larger half of the row counts is left out, and said.

    Args:
        part: What is run.
        rows: Row counts, ascending.
        device: Where.
    """
    left_out: list[str] = []
    inputs = ""
    counts: tuple[Count, ...] = ()
    while rows:
        try:
            inputs, counts = _measured(part, rows, device)
            break
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            limit = rows[-1] // 2
            dropped = [each for each in rows if each > limit]
            which = str(dropped[0]) if len(dropped) == 1 else f"{dropped[0]}–{dropped[-1]}"
            left_out.append(f"{which} rows: out of memory")
            rows = [each for each in rows if each <= limit]
    return ModuleMap(
        name=part.name,
        kind=part.kind,
        shape=part.shape,
        keys=part.keys,
        inputs=inputs,
        counts=counts,
        left_out=tuple(left_out),
    )


def _measured(part: MapPart, rows: Sequence[int], device: str) -> tuple[str, tuple[Count, ...]]:
    running = part.prepare(rows[-1])
    runs, events = _run_all(running, rows, device)
    more = _MORE_RUNS.get(part.kind, 0)
    varying = [_varies(running, run, more) for run in runs]
    return running.inputs, _counts(runs, events, _hashes(runs, varying), device)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """The runs of one row count.

    Attributes:
        rows: The count.
        first, last: Row 0's output of the first and the last run.
        log: Lines of cuBLASLt's log of the first run.
        seconds: Duration of the calls after the first, on this thread.
    """

    rows: int
    first: torch.Tensor
    last: torch.Tensor
    log: tuple[str, ...]
    seconds: tuple[float, ...]


Events = dict[str, list[dict[str, Any]]]
"""Kernel events by `rows run`."""


def _run_all(running: RunningPart, rows: Sequence[int], device: str) -> tuple[list[_Runs], Events]:
    """Run every count a few times: copy 0 first and last for the bits, other weights between for the time."""
    on_gpu = device.startswith("cuda")
    running.run(rows[0], 0)  # libraries load here, before their log is sought
    found = []
    with profiled(on_gpu) as events, algorithm_lines(on_gpu) as log:
        for place, count in enumerate(rows):
            others = [_other_copy(running.copies, place * _TIMED_RUNS + run) for run in range(1, _TIMED_RUNS)]
            outputs, seconds = [], []
            lines: tuple[str, ...] = ()
            for run, copy in enumerate([0, *others, 0]):
                log.clear()
                begin = time.perf_counter()
                with torch.profiler.record_function(f"{RANGE}{count} {run}"):
                    output = running.run(count, copy)
                seconds.append(time.perf_counter() - begin)
                if run == 0:
                    lines = tuple(log)
                outputs.append(output[0].clone() if copy == 0 else None)
            first, last = outputs[0], outputs[-1]
            assert first is not None
            assert last is not None
            found.append(_Runs(rows=count, first=first, last=last, log=lines, seconds=tuple(seconds[1:])))
    return found, events


def _other_copy(copies: int, number: int) -> int:
    """Return another copy of the weights than copy 0, each in turn; copy 0 where there is no other."""
    return 1 + number % (copies - 1) if copies > 1 else 0


def _varies(running: RunningPart, runs: _Runs, more: int) -> bool:
    """Whether one of `more` runs gives different bits than the first; one look at the device for all of them."""
    if more == 0:
        return False
    bits = _integers(runs.first)
    differing = [(_integers(running.run(runs.rows, 0)[0]) != bits).any() for _ in range(more)]
    return bool(torch.stack(differing).any())


def _hashes(runs: Sequence[_Runs], varying: Sequence[bool]) -> list[str | None]:
    """Return the hash of each count's row, None where a run gave different bits.

    Most counts agree with the one before: one comparison on the device for all of them, then a hash per change.
    """
    first = torch.stack([_integers(run.first) for run in runs])
    last = torch.stack([_integers(run.last) for run in runs])
    repeats = (first == last).all(1).tolist()
    unchanged = [False, *(first[1:] == first[:-1]).all(1).tolist()]
    found: list[str | None] = []
    bits = ""
    for run, same, again, varies in zip(runs, unchanged, repeats, varying, strict=True):
        bits = bits if same else hash_of(run.first)
        found.append(bits if again and not varies else None)
    return found


def _integers(row: torch.Tensor) -> torch.Tensor:
    """Return a row's bits: equal numbers may have different bits, and a NaN is not equal to itself."""
    return row.contiguous().flatten().view(torch.int16 if row.element_size() == 2 else torch.int32)


def _counts(runs: Sequence[_Runs], events: Events, hashes: Sequence[str | None], device: str) -> tuple[Count, ...]:
    on_gpu = device.startswith("cuda")
    sm_count = torch.cuda.get_device_properties(device).multi_processor_count if on_gpu else None
    counts: list[Count] = []
    before: tuple[Kernel, ...] = ()
    for run, bits in zip(runs, hashes, strict=True):
        kernels = kernels_of(events.get(f"{run.rows} 0", []), run.log, sm_count)
        verdict, reason = predicted(before, kernels) if before and kernels else (None, None)
        counts.append(
            Count(
                rows=run.rows,
                bits=bits,
                order=order_in_words(kernels),
                kernels=tuple(dict.fromkeys(kernel.parsed.kernel or kernel.parsed.name for kernel in kernels)),
                nanoseconds=_gpu_nanoseconds(events, run.rows) if on_gpu else _call_nanoseconds(run.seconds),
                predicted=None if verdict is None else verdict.value,
                reason=reason,
            )
        )
        before = kernels
    return tuple(counts)


def _call_nanoseconds(seconds: Sequence[float]) -> int:
    return round(statistics.median(seconds) * 1e9)


def _gpu_nanoseconds(events: Events, rows: int) -> int | None:
    """Return the median over the timed runs of the time that a run's kernels took; None where one has none."""
    runs = [events.get(f"{rows} {run}", []) for run in range(1, 1 + _TIMED_RUNS)]
    if not all(runs):
        return None
    microseconds = [float(sum(event["dur"] for event in run)) for run in runs]
    return round(statistics.median(microseconds) * 1000)
