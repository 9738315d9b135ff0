"""Which kernels a call ran: names and launches from torch's profiler, split-K factors from cuBLASLt's log."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tracediff.capture.algorithm_log import AlgorithmLog, loaded_libraries
from tracediff.diff.result import Kernel
from tracediff.diff.split_k import infer
from tracediff.kernels import parse
from tracediff.trace.algorithm import is_algorithm_log, parse_algorithm

RANGE = "tracediff call "


@contextmanager
def profiled(on_gpu: bool) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Yield a dict that holds, after the block, the kernel events of each range `RANGE…` in launch order.

    The events are those of torch's profiler; on the CPU the dict stays empty.
    """
    result: dict[str, list[dict[str, Any]]] = {}
    if not on_gpu:
        yield result
        return
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        yield result
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    result.update(kernels_by_range(events))


def kernels_by_range(events: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the kernel events launched inside each range `RANGE…` of a torch profiler trace, in launch order."""
    ranges = sorted(
        (event["ts"], event["ts"] + event["dur"], str(event["name"]).removeprefix(RANGE))
        for event in events
        if event.get("cat") == "user_annotation" and str(event.get("name", "")).startswith(RANGE)
    )
    launches = {
        event["args"]["correlation"]: event["ts"]
        for event in events
        if event.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in event.get("args", {})
    }
    launched = sorted(
        (
            # A launch call that the profiler does not know has no event: the kernel's own start is near.
            (launches.get(event["args"].get("correlation"), event["ts"]), event)
            for event in events
            if event.get("cat") == "kernel"
        ),
        key=lambda entry: entry[0],
    )
    result: dict[str, list[dict[str, Any]]] = {}
    position = 0
    for time_us, event in launched:
        while position < len(ranges) and ranges[position][1] < time_us:
            position += 1
        if position < len(ranges) and ranges[position][0] <= time_us:
            result.setdefault(ranges[position][2], []).append(event)
    return result


def kernels_of(events: Sequence[dict[str, Any]], log: Sequence[str], sm_count: int | None) -> tuple[Kernel, ...]:
    """Return kernels as a diff knows them; the log's lines belong to the products, in order."""
    lines = iter([parse_algorithm(line) for line in log])
    kernels = []
    for event in events:
        facts, parsed = event["args"], parse(event["name"])
        kernels.append(
            Kernel(
                parsed=parsed,
                split_k=None,
                split_k_source=None,
                grid=_three(facts["grid"]),
                block=_three(facts["block"]),
                registers=facts.get("registers per thread", 0),
                shared_memory_bytes=facts.get("shared memory", 0),
                duration_ns=round(event["dur"] * 1000),
                algorithm=next(lines, None) if parsed.role == "gemm" else None,
            )
        )
    return infer(kernels, sm_count)


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    return sizes[0], sizes[1], sizes[2]


@contextmanager
def algorithm_lines(on_gpu: bool) -> Iterator[list[str]]:
    """Yield a list to which cuBLASLt's log adds one line per matrix product."""
    lines: list[str] = []
    if not on_gpu:
        yield lines
        return
    log = AlgorithmLog(lambda line: lines.append(line) if is_algorithm_log(line) else None, loaded_libraries())
    log.start()
    try:
        yield lines
    finally:
        log.stop()
