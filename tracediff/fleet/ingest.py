"""Read many traces into one dataset, spread over processes or machines with Dask.

Each trace is one task. Its result is a file that appears whole or not at all, so the tasks of a killed worker run again
on another, and running the command again writes only the traces that are missing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError, install_hint
from tracediff.fleet.dataset import FILE, import_pyarrow, partition_of, write_table

#: How often a task moves to another worker after one died: the trace itself may be what kills them.
_RETRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of ingesting one trace.

    Attributes:
        trace: The trace.
        kernels: How many kernels were written; None if the dataset already held the trace, or reading it failed.
        problem: Why it could not be read, in one line; None otherwise.
    """

    trace: Path
    kernels: int | None = None
    problem: str | None = None


def ingest(
    traces: Sequence[Path],
    out: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Write the kernel tables of traces into the dataset at `out`.

    Args:
        traces: Traces of any kind. Workers on other machines must see them, and `out`, under the same paths.
        out: The dataset; created if it does not exist.
        scheduler: Address of a Dask scheduler; without one, worker processes are started on this machine.
        workers: How many worker processes to start; one per core by default.
        progress: Called with each outcome as it arrives.

    Returns:
        One outcome per trace, in the order given; each trace once.

    Raises:
        TracediffError: pyarrow or Dask is missing, `out` is no folder, or no scheduler answers.
    """
    import_pyarrow()
    if out.exists() and not out.is_dir():
        raise TracediffError(f"{out} is not a folder", "name another with --out")
    out = out.absolute()
    outcomes: dict[Path, Outcome] = {}
    waiting: list[Path] = []
    for trace in dict.fromkeys(path.absolute() for path in traces):
        try:
            done = (out / partition_of(trace, out) / FILE).is_file()
        except OSError as error:
            outcomes[trace] = Outcome(trace=trace, problem=f"{trace}: {error.strerror or error}")
            progress(outcomes[trace])
            continue
        if done:
            outcomes[trace] = Outcome(trace=trace)
            progress(outcomes[trace])
        else:
            waiting.append(trace)
    if waiting:
        with _client(scheduler, workers, len(waiting)) as client:
            for outcome in _run(client, waiting, out):
                outcomes[outcome.trace] = outcome
                progress(outcome)
    return [outcomes[trace] for trace in dict.fromkeys(path.absolute() for path in traces)]


def count_held(traces: Iterable[Path], out: Path) -> int:
    """Return how many traces the dataset at `out` holds."""
    out = out.absolute()
    held = 0
    for trace in {path.absolute() for path in traces}:
        with suppress(OSError):
            held += (out / partition_of(trace, out) / FILE).is_file()
    return held


def ingest_one(trace: Path, out: Path) -> Outcome:
    """Write one trace into the dataset; the task that workers run."""
    from tracediff.trace import read_trace  # noqa: PLC0415 -- in the worker

    try:
        table = read_trace(trace)
        write_table(table, trace, out)
    except TracediffError as error:
        return Outcome(trace=trace, problem=str(error))
    except OSError as error:
        return Outcome(trace=trace, problem=f"{trace}: {error.strerror or error}")
    return Outcome(trace=trace, kernels=len(table))


def _run(client: Any, traces: list[Path], out: Path) -> Iterator[Outcome]:
    from distributed import as_completed  # noqa: PLC0415
    from distributed.scheduler import KilledWorker  # noqa: PLC0415

    futures = {client.submit(ingest_one, trace, out, pure=False, retries=_RETRIES): trace for trace in traces}
    for future in as_completed(list(futures)):
        trace = futures[future]
        try:
            yield future.result()
        except KilledWorker:
            yield Outcome(trace=trace, problem=f"{trace}: every worker that read it died; is there enough memory?")
        except Exception as error:
            yield Outcome(trace=trace, problem=f"{trace}: {type(error).__name__}: {error}")


@contextmanager
def _client(scheduler: str | None, workers: int | None, tasks: int) -> Iterator[Any]:
    try:
        import dask.config  # noqa: PLC0415 -- optional, and slow to load
        import distributed  # noqa: PLC0415
    except ImportError:
        raise TracediffError("this needs Dask", install_hint("fleet")) from None
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout="15s")
        except (OSError, TimeoutError, ValueError) as error:
            raise TracediffError(f"no Dask scheduler answers at {scheduler}", str(error) or "is it running?") from error
        with client:
            yield client
        return
    count = max(1, min(workers or os.cpu_count() or 1, tasks))
    with dask.config.set({"distributed.worker.memory.terminate": False}):
        with _held_back_interrupts() as interrupts:
            # Dask always serves HTTP: here on a free port of this machine, because its usual one may be taken.
            cluster = distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
            )
        with cluster, distributed.Client(cluster) as client:
            if interrupts:
                raise KeyboardInterrupt
            yield client


@contextmanager
def _held_back_interrupts() -> Iterator[list[int]]:
    """Start processes that Ctrl-C does not reach: a terminal sends it to them too, but this process answers it.

    They inherit that it is blocked. What came meanwhile is in the list that this yields, once the block is over.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # handlers can be set in the main thread only, and Ctrl-C reaches that one
        return
    resource_tracker.ensure_running()  # when it starts, it admits interrupts again
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield came
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
