"""A clean copy of a torch profiler trace: what a reader needs, and nothing that names a machine, a user or a process.

Such a trace holds the host's name, the names of processes and threads, paths, process ids, and anything else that a
library annotates. So nothing is deleted from it: a new trace is made, and only what is listed here is put into it. On a
GPU that is kernels, their launches and our own ranges; on a CPU the operators take the kernels' place.
"""

import gzip
import json
import re
from pathlib import Path
from typing import Any

from tracediff.capture.scrub import OwnRangesMissingError, Scrubbed
from tracediff.errors import TracediffError
from tracediff.model.ranges import ANNOTATION_PREFIX, DOMAIN, RUN
from tracediff.trace.json_events import open_events

_HEAD = ("schemaVersion", "cuda_runtime_version", "cuda_driver_version", "cupti_version", "displayTimeUnit")
_DEVICE = (
    *("id", "name", "totalGlobalMem", "computeMajor", "computeMinor", "maxThreadsPerBlock"),
    *("maxThreadsPerMultiprocessor", "regsPerBlock", "warpSize", "sharedMemPerBlock", "numSms"),
    *("regsPerMultiprocessor", "sharedMemPerBlockOptin", "sharedMemPerMultiprocessor"),
)
_KERNEL = ("device", "context", "stream", "correlation", "registers per thread", "shared memory", "grid", "block")
_CALLS = ("cuda_runtime", "cuda_driver")
_CALL = ("correlation",)
_OPERATOR = re.compile(r"\w+::[\w.]+")
#: The number given to the recorded process; higher than those of GPUs, which share the field.
_PROCESS = 1000

Event = dict[str, Any]


def scrub_torch(source: Path, destination: Path) -> Scrubbed:
    """Copy kernels, their launches and our own ranges into a new, compressed trace; without kernels the operators.

    Args:
        source: A Chrome trace of torch's profiler with the annotation `run`.
        destination: The new file (`.json.gz`).

    Raises:
        OwnRangesMissingError: The trace does not hold that annotation.
        TracediffError: It is no such trace, or there is one already.
    """
    if destination.exists():
        raise TracediffError(f"{destination} exists", "name another file")
    kernels: list[Event] = []
    calls: list[Event] = []
    ranges: list[Event] = []
    operators: list[Event] = []
    threads = _Threads()
    with open_events(source, dict) as trace:
        for event in (each for batch in trace.batches(lambda phase, category: False) for each in batch):
            category, name = event.get("cat"), event.get("name")
            if event.get("ph") != "X" or not isinstance(name, str):
                continue
            if category == "kernel":
                kernels.append(_kernel(event, name))
            elif category in _CALLS:
                calls.append(threads.placed(event, name, _picked(event.get("args"), _CALL)))
            elif category == "user_annotation" and name.startswith(ANNOTATION_PREFIX):
                ranges.append(threads.placed(event, name.removeprefix(ANNOTATION_PREFIX), {}))
            elif category == "cpu_op" and _OPERATOR.fullmatch(name):
                operators.append(threads.placed(event, name, {}))
    if not any(event["name"] == RUN for event in ranges):
        raise OwnRangesMissingError("the recording lacks its own ranges")
    # Calls that started no kernel are most of the rows and say nothing about one.
    launches = {kernel["args"].get("correlation") for kernel in kernels}
    launching = [call for call in calls if call["args"].get("correlation") in launches]
    _write(destination, _head(trace.head), [*ranges, *launching, *kernels] if kernels else [*ranges, *operators])
    return Scrubbed(kernels=len(kernels), ranges=len(ranges), marks=0)


class _Threads:
    """Threads of the recorded process, numbered as they appear in place of the system's numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def placed(self, event: Event, name: str, arguments: dict[str, Any]) -> Event:
        """Return an event with what is listed of it."""
        thread = self._numbers.setdefault(repr(event.get("tid")), len(self._numbers) + 1)
        return {**_timed(event, name), "pid": _PROCESS, "tid": thread, "args": arguments}


def _kernel(event: Event, name: str) -> Event:
    arguments = _picked(event.get("args"), _KERNEL)
    where = {"pid": arguments.get("device", 0), "tid": arguments.get("stream", 0)}
    return {**_timed(event, name), **where, "args": arguments}


def _timed(event: Event, name: str) -> Event:
    return {"ph": "X", "cat": event["cat"], "name": name, **_picked(event, ("ts", "dur"))}


def _head(head: dict[str, Any]) -> dict[str, Any]:
    devices = head.get("deviceProperties")
    listed = [_picked(device, _DEVICE) for device in devices] if isinstance(devices, list) else []
    return {**_picked(head, _HEAD), "profiledBy": DOMAIN, "deviceProperties": listed}


def _picked(values: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values} if isinstance(values, dict) else {}


def _write(destination: Path, head: dict[str, Any], events: list[Event]) -> None:
    # gzip would store the file's name and the time.
    with destination.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as compressed:
        compressed.write(json.dumps({**head, "traceEvents": events}, separators=(",", ":")).encode())
