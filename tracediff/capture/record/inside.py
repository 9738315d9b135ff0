"""What happens in a process of the recorded program once it has imported torch: ranges, algorithm marks, reports.

Runs in the program's own Python, so it needs torch and the standard library, and nvtx where the program or tracediff
has one that this Python can load.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tracediff.capture.algorithm_log import AlgorithmLog, loaded_libraries
from tracediff.capture.machine import library_versions, package_version
from tracediff.capture.record.log_of_first_steps import LogOfFirstSteps
from tracediff.capture.record.marks import DomainMarks, TorchMarks, find_marks
from tracediff.capture.record.part_of_run import PartOfRun
from tracediff.capture.record.range_files import RangeFiles

#: Text of the marks that the CUDA profiler's start and stop leave.
PROFILER_STARTED, PROFILER_STOPPED = "cudaProfilerStart", "cudaProfilerStop"
_SERVERS = ("vllm", "sglang", "tensorrt_llm", "accelerate", "deepspeed")
# nsys collects a process's last ranges with a delay, which a forked child's abrupt end does not leave it (0.1 s is
# enough with nsys 2023.4).
_SECONDS_FOR_NSYS = 0.5


def install(settings: Mapping[str, Any]) -> None:
    """Start in this process.

    Args:
        settings: `reports` (file to append to), `files` (folder for ranges), `nvtx` (folder of tracediff's nvtx),
            `ranges` (`modules`, `blocks` or `none`), `algorithm_log` (bool), `kept_from` (how many steps of a root are
            not kept), `part` (file that says which part of the run it is).
    """
    import torch  # noqa: PLC0415 -- the program has just imported it

    marks = find_marks(settings["nvtx"], torch)
    log_state = "off"
    if marks is not None:
        log = AlgorithmLog(marks.mark, loaded_libraries())
        if settings["algorithm_log"]:
            log_state = "on" if log.available else "unavailable"
            log.start()
            _logs.append(log)
        wanted = settings["ranges"]
        files = None
        if wanted != "none":
            files = RangeFiles(settings["files"], marks.prepare, partial(_report_failure, settings["reports"]))
        part = PartOfRun(settings["part"])
        first = LogOfFirstSteps(log, lambda: _is_capturing(torch), lambda: part.number, settings["kept_from"])
        if files is not None or log_state == "on":
            from tracediff.capture.record.module_ranges import NoRanges, follow_modules  # noqa: PLC0415 -- imports torch

            before_step = first.before_step if log_state == "on" else _do_nothing
            follow_modules(files or NoRanges(), before_step, blocks_alone=wanted == "blocks")
        _mark_profiler_calls(torch, marks.mark, part.begin, _do_nothing if files is None else files.mark_clock)
        _let_forked_children_end_slowly(marks.mark)
    report_use_of_cuda(torch, settings["reports"])
    _report(settings["reports"], marks, log_state)


# Callbacks are C's to call for as long as the process lives.
_logs: list[AlgorithmLog] = []


def _is_capturing(torch: Any) -> bool:
    """Return whether a CUDA graph is being captured; asking before CUDA is initialised would initialise it."""
    return bool(torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())


def _do_nothing(*_: object) -> None:
    pass


def _mark_profiler_calls(
    torch: Any, mark: Callable[[str], None], begin_part: Callable[[], None], mark_clock: Callable[[], None]
) -> None:
    """Leave a mark where the program starts and stops the CUDA profiler: it says what it wants recorded.

    Clock marks follow the start and come before the stop: where nsys records nothing else, it has seen no others.

    Args:
        torch: The module.
        mark: Leaves a mark.
        begin_part: Called at a start, for all processes.
        mark_clock: Leaves a clock mark.
    """
    cudart = getattr(torch._C, "_cudart", None)
    for name, before, after in (
        (PROFILER_STARTED, (partial(mark, PROFILER_STARTED),), (begin_part, mark_clock)),
        (PROFILER_STOPPED, (mark_clock, partial(mark, PROFILER_STOPPED)), ()),
    ):
        if hasattr(cudart, name):
            setattr(cudart, name, _surrounded(getattr(cudart, name), before, after))


def _surrounded(
    function: Callable[..., Any], before: Sequence[Callable[[], None]], after: Sequence[Callable[[], None]]
) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        for each in before:
            each()
        result = function(*arguments)
        for each in after:
            each()
        return result

    return call


class _OfChildren:
    """What multiprocessing's registry of things to do in a forked child refers to, weakly."""


_of_children = _OfChildren()


def _let_forked_children_end_slowly(mark: Callable[[str], None]) -> None:
    """Make children of multiprocessing wait a moment before they end: they skip what a process does at exit."""
    from multiprocessing import util  # noqa: PLC0415

    def wait() -> None:
        mark("end")  # nsys holds an event back until the next one comes
        time.sleep(_SECONDS_FOR_NSYS)

    def in_child(_: object) -> None:
        util.Finalize(None, wait, exitpriority=-1000)

    util.register_after_fork(_of_children, in_child)


def _report(path: str, marks: DomainMarks | TorchMarks | None, log_state: str) -> None:
    servers = {name: package_version(name) for name in _SERVERS if name in sys.modules or _installed(name)}
    report = {
        "event": "torch",
        "process": os.getpid(),
        "ranges": None if marks is None else marks.name,
        "algorithm_log": log_state,
        "versions": {**library_versions(), **{name: version for name, version in servers.items() if version}},
    }
    with open(path, "a", encoding="utf-8") as reports:  # noqa: PTH123
        reports.write(json.dumps(report) + "\n")


def _report_failure(path: str, message: str) -> bool:
    return _append(path, {"event": "failed", "process": os.getpid(), "message": message})


def report_use_of_cuda(torch: Any, path: str) -> None:
    """Report when torch initialises CUDA in this process, or in a child that is forked from it.

    nsys does not follow CUDA into a process that is forked while it records (seen with 2025.3), and says nothing of it.
    """
    initialise = getattr(torch._C, "_cuda_init", None)
    if initialise is None:
        return
    started_as = os.getpid()

    def call() -> Any:
        result = initialise()
        process = os.getpid()
        _append(path, {"event": "cuda", "process": process, "forked": process != started_as})
        return result

    torch._C._cuda_init = call


def _append(path: str, report: Mapping[str, object]) -> bool:
    """Tell tracediff, and return whether that went well; the program goes on in any case."""
    try:
        with open(path, "a", encoding="utf-8") as reports:  # noqa: PTH123
            reports.write(json.dumps(report) + "\n")
    except OSError:
        return False
    return True


def _installed(name: str) -> bool:
    from importlib import metadata  # noqa: PLC0415

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
