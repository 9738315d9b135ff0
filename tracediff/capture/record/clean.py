"""A clean copy of a program's recording: its GPU work, launches, ranges and marks, within the bounds asked for.

What may be copied at all, and why, is in `tracediff.capture.kept`. The texts of a program's ranges are copied as they
are: they are the names of what it computes. What a program marks is not copied; tracediff's own marks are.

The whole program is recorded and bounded here, so that a CUDA graph captured before the bounds keeps the ranges that
were open at its capture.
"""

import contextlib
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracediff.capture.kept import (
    API_CALLS,
    DOMAIN_CREATED,
    GPU_TABLES,
    GRAPH_NODES,
    MARK,
    NVTX,
    PUSH_POP,
    START_END,
    CleanCopy,
    clean_copy,
    in_list,
)
from tracediff.capture.record.inside import PROFILER_STARTED, PROFILER_STOPPED
from tracediff.capture.record.options import StepRange
from tracediff.errors import TracediffError
from tracediff.model.ranges import DOMAIN
from tracediff.trace.shape import Shape

#: What bounds a recording.
STEPS, SIGNAL, PROFILER_CALLS, PROGRAM = "steps", "SIGUSR1", "cudaProfilerApi", "program"

_KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
_ALWAYS = 2**62
_SESSION = "TARGET_INFO_SESSION_START_TIME"
_THREADS = 24  # bits of a global id below the process's


class NoSuchStepsError(TracediffError):
    """The program made none of the steps that were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time that is kept: `start` up to, not including, `end`, in the trace's ns; of one process, None: of all."""

    start: int
    end: int
    process: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRecording:
    """What the clean copy holds.

    Attributes:
        kernels: Kernels of all processes.
        ranges: Ranges of all domains.
        own_ranges: Those in the domain `tracediff`.
        marks: Algorithm marks.
        processes: Processes that ran kernels.
        steps: How many steps of each shape (`8x1`) are in it.
        bounds: What bounded it: `steps`, `SIGUSR1`, `cudaProfilerApi` or `program`.
    """

    kernels: int
    ranges: int
    own_ranges: int
    marks: int
    processes: int
    steps: dict[str, int]
    bounds: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look at."""
        return not self.kernels and not self.ranges


def clean_recording(
    source: Path,
    destination: Path,
    *,
    steps: StepRange | None = None,
    switches: tuple[int, ...] = (),
    everything: bool = False,
) -> CleanRecording:
    """Copy the GPU work, launches and ranges of a recorded program into a new database.

    Args:
        source: An nsys SQLite export.
        destination: The new file.
        steps: Which steps to keep.
        switches: Moments in ns since 1970 at which keeping was switched on, off, on, …
        everything: Whether the bounds that the program itself sets by the CUDA profiler are ignored.

    Raises:
        NoSuchStepsError: None of `steps` is in it.
        TracediffError: It is no export, or does not say when the recording began.
    """
    try:
        with clean_copy(source, destination) as copy:
            return _Recording(copy).run(steps, switches, everything)
    except sqlite3.Error as error:
        raise TracediffError(f"cannot read nsys's export of the recording: {error}") from error


def processes_with_kernels(source: Path) -> set[int]:
    """Return the ids of the processes whose kernels are in an nsys SQLite export.

    Raises:
        TracediffError: It is no export.
    """
    process = f"globalPid >> {_THREADS} & {(1 << _THREADS) - 1}"
    try:
        with contextlib.closing(sqlite3.connect(source)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_KERNELS,)).fetchone():
                return set()
            return {number for (number,) in connection.execute(f"SELECT DISTINCT {process} FROM {_KERNELS}")}
    except sqlite3.Error as error:
        raise TracediffError(f"cannot read nsys's export of the recording: {error}") from error


class _Recording:
    def __init__(self, copy: CleanCopy) -> None:
        self._copy = copy
        # (process, id) of every NVTX domain that was made, and of those named `tracediff`.
        made = (
            self._rows(
                f"SELECT DISTINCT globalTid >> {_THREADS}, domainId, {_TEXT} FROM {_EVENTS} "
                f"WHERE eventType = {DOMAIN_CREATED}"
            )
            if NVTX in copy.tables
            else []
        )
        self._own = [(process, domain) for process, domain, text in made if text == DOMAIN]
        self._with_domains = {process for process, _, _ in made}

    def run(self, steps: StepRange | None, switches: tuple[int, ...], everything: bool) -> CleanRecording:
        windows, bounds = ([], PROGRAM) if everything else self._windows(steps, switches)
        copy = self._copy
        if bounds == PROGRAM:
            copy.copy_gpu_work()
            copy.copy_launches()
        else:
            self._copy_launched_in(windows)
        copy.copy(GRAPH_NODES, "1" if bounds == PROGRAM else self._nodes_of_kept_graphs())
        copy.copy(NVTX, self._ranges_wanted(windows, everything=bounds == PROGRAM))
        self._forget_foreign_payloads()
        copy.copy_descriptions()
        copy.copy_strings()
        return self._summary(bounds, windows)

    # --- bounds -------------------------------------------------------------------------------------------------

    def _windows(self, steps: StepRange | None, switches: tuple[int, ...]) -> tuple[list[Window], str]:
        if steps is not None:
            return self._windows_of_steps(steps), STEPS
        if switches:
            return self._windows_of_switches(switches), SIGNAL
        windows = self._windows_of_profiler_calls()
        return (windows, PROFILER_CALLS) if windows else ([], PROGRAM)

    def _windows_of_steps(self, steps: StepRange) -> list[Window]:
        """Return from each process's first wanted step to the beginning of the one after the last."""
        windows, seen = [], 0
        for process, starts in self._steps().items():
            seen = max(seen, len(starts))
            if len(starts) > steps.first:
                past = steps.past if steps.past is not None and steps.past < len(starts) else None
                end = _ALWAYS if past is None else starts[past]
                windows.append(Window(start=starts[steps.first], end=end, process=process))
        if not windows:
            raise NoSuchStepsError(f"the program made {seen} step{'' if seen == 1 else 's'}, none of those in --steps")
        return windows

    def _steps(self) -> dict[int, list[int]]:
        """Return when each process's steps began: forwards of the root module that took the longest in all."""
        if NVTX not in self._copy.tables:
            raise NoSuchStepsError("the program called no torch module, so it made no steps")
        rows = self._rows(
            f"SELECT globalTid >> {_THREADS}, {_TEXT}, event.start, event.end FROM {_EVENTS} "
            f"WHERE {self._is_root()} ORDER BY event.start"
        )
        took: dict[str, int] = {}
        for _, text, start, end in rows:
            took[text] = took.get(text, 0) + ((end or start) - start)
        if not took:
            raise NoSuchStepsError("the program called no torch module, so it made no steps")
        longest = max(took, key=lambda text: took[text])
        starts: dict[int, list[int]] = {}
        for process, text, start, _ in rows:
            if text == longest:
                starts.setdefault(process, []).append(start)
        return starts

    def _windows_of_switches(self, switches: tuple[int, ...]) -> list[Window]:
        if _SESSION not in self._copy.tables:
            raise TracediffError("this nsys does not say when a recording began", "use --steps in place of SIGUSR1")
        began = int(self._rows(f"SELECT utcEpochNs FROM source.{_SESSION} LIMIT 1")[0][0])
        moments = [moment - began for moment in switches] + [_ALWAYS] * (len(switches) % 2)
        return [Window(start=on, end=off) for on, off in zip(moments[::2], moments[1::2], strict=True)]

    def _windows_of_profiler_calls(self) -> list[Window]:
        """Return from each cudaProfilerStart to the next cudaProfilerStop; they hold for all processes, as with nsys.

        A server's front calls them for workers that do the work.
        """
        if NVTX not in self._copy.tables:
            return []
        windows: list[Window] = []
        started: int | None = None
        for text, moment in self._rows(
            f"SELECT {_TEXT}, event.start FROM {_EVENTS} WHERE eventType = {MARK} AND {self._is_own()} "
            f"AND {_TEXT} IN ('{PROFILER_STARTED}', '{PROFILER_STOPPED}') ORDER BY event.start"
        ):
            if text == PROFILER_STARTED and started is None:
                started = moment
            elif text == PROFILER_STOPPED and started is not None:
                windows.append(Window(start=started, end=moment))
                started = None
        return windows if started is None else [*windows, Window(start=started, end=_ALWAYS)]

    # --- what is copied -----------------------------------------------------------------------------------------

    def _copy_launched_in(self, windows: list[Window]) -> None:
        """Copy the calls made within the bounds, and the GPU work that they started."""
        copy = self._copy
        inside = " OR ".join(_within(window) for window in windows)
        if API_CALLS not in copy.tables:
            return
        copy.copy(API_CALLS, inside)
        copy.connection.execute(
            "CREATE TEMP TABLE kept AS SELECT DISTINCT "
            f"globalTid >> {_THREADS} AS process, correlationId AS correlation FROM main.{API_CALLS}"
        )
        copy.connection.execute("CREATE INDEX temp.of_kept ON kept (process, correlation)")
        copy.copy_gpu_work(
            f"EXISTS (SELECT 1 FROM temp.kept WHERE process = globalPid >> {_THREADS} AND correlation = correlationId)"
        )
        copied = [table for table in GPU_TABLES if copy.has(table)]
        started = " UNION ".join(f"SELECT globalPid >> {_THREADS}, correlationId FROM main.{table}" for table in copied)
        # Calls that started no GPU work are most of the rows and say nothing about a kernel.
        if started:
            copy.connection.execute(
                f"DELETE FROM main.{API_CALLS} WHERE (globalTid >> {_THREADS}, correlationId) NOT IN ({started})"
            )

    def _nodes_of_kept_graphs(self) -> str:
        kept = self._copy.has(_KERNELS) and self._has_column(_KERNELS, "graphNodeId")
        return f"EXISTS (SELECT 1 FROM main.{_KERNELS} WHERE graphNodeId IS NOT NULL)" if kept else "0"

    def _ranges_wanted(self, windows: list[Window], everything: bool) -> str:
        kinds = f"eventType IN {in_list((PUSH_POP, START_END, DOMAIN_CREATED))}"
        texts = "COALESCE(text, (SELECT value FROM source.StringIds WHERE id = textId))"
        marks = f"(eventType = {MARK} AND {self._is_own('')} AND {texts} LIKE 'cublas%')"
        if everything:
            return f"{kinds} OR {marks}"
        moments = [*windows, *self._captures()]
        overlapping = " OR ".join(_overlapping(window) for window in moments)
        return f"eventType = {DOMAIN_CREATED} OR (({kinds} OR {marks}) AND ({overlapping}))"

    def _captures(self) -> list[Window]:
        """Return when the graphs were captured whose kernels are kept."""
        if not self._copy.has(GRAPH_NODES):
            return []
        rows = self._copy.connection.execute(
            f"SELECT globalTid >> {_THREADS}, MIN(start), MAX(start) + 1 FROM main.{GRAPH_NODES} GROUP BY 1"
        )
        return [Window(start=start, end=end, process=process) for process, start, end in rows if start is not None]

    def _forget_foreign_payloads(self) -> None:
        """Take payloads out of ranges that are not ours: they are numbers of the program's own."""
        if self._has_column(NVTX, "int64Value"):
            self._copy.connection.execute(f"UPDATE main.{NVTX} SET int64Value = NULL WHERE NOT {self._is_own('')}")

    # --- what it holds ------------------------------------------------------------------------------------------

    def _summary(self, bounds: str, windows: list[Window]) -> CleanRecording:
        copy = self._copy
        ranges = f"eventType IN {in_list((PUSH_POP, START_END))}"
        processes = 0
        if copy.has(_KERNELS) and self._has_column(_KERNELS, "globalPid"):
            rows = copy.connection.execute(f"SELECT COUNT(DISTINCT globalPid) FROM main.{_KERNELS}")
            processes = int(rows.fetchone()[0])
        return CleanRecording(
            kernels=copy.count(_KERNELS),
            ranges=copy.count(NVTX, ranges),
            own_ranges=copy.count(NVTX, f"{ranges} AND {self._is_own('')}"),
            marks=copy.count(NVTX, f"eventType = {MARK}"),
            processes=processes,
            steps=self._shapes(windows),
            bounds=bounds,
        )

    def _shapes(self, windows: list[Window]) -> dict[str, int]:
        """Return how many steps of each shape ran; those that were kept for the graphs captured in them did not."""
        if not self._copy.has(NVTX) or not self._has_column(NVTX, "int64Value"):
            return {}
        ran = " OR ".join(_overlapping(window) for window in windows) or "1"
        rows = self._copy.connection.execute(
            "SELECT COALESCE(text, value) AS name, int64Value, COUNT(*), SUM(COALESCE(end, start) - start) "
            f"FROM main.{NVTX} LEFT JOIN main.StringIds ON id = textId "
            f"WHERE eventType = {PUSH_POP} AND int64Value IS NOT NULL AND ({ran}) GROUP BY 1, 2 ORDER BY 3 DESC, 2"
        ).fetchall()
        took = Counter[str]()
        for name, _, _, ns in rows:
            took[name] += ns
        longest = max(took, key=lambda name: took[name], default=None)
        return {str(Shape.of_payload(payload)): count for name, payload, count, _ in rows if name == longest}

    # --- SQL ----------------------------------------------------------------------------------------------------

    def _is_own(self, table: str = "event.") -> str:
        """Return the condition that an event is in the domain `tracediff`; each process counts its domains itself."""
        process = f"({table}globalTid >> {_THREADS})"
        pairs = ", ".join(f"({each}, {domain})" for each, domain in self._own)
        inherited = in_list({domain for _, domain in self._own})
        # A forked child goes on with the domains that its parent made.
        return (
            f"(({process}, {table}domainId) IN (VALUES {pairs}) "
            f"OR ({process} NOT IN {in_list(self._with_domains)} AND {table}domainId IN {inherited}))"
            if self._own
            else "0"
        )

    def _is_root(self) -> str:
        return f"eventType = {PUSH_POP} AND {self._is_own()} AND event.int64Value IS NOT NULL"

    def _has_column(self, table: str, column: str) -> bool:
        rows = self._copy.connection.execute(
            "SELECT 1 FROM pragma_table_info(?, 'main') WHERE name = ?", (table, column)
        )
        return rows.fetchone() is not None

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._copy.connection.execute(query).fetchall()


_EVENTS = f"source.{NVTX} AS event LEFT JOIN source.StringIds AS string ON string.id = event.textId"
_TEXT = "COALESCE(event.text, string.value)"


def _within(window: Window) -> str:
    return f"(start >= {window.start} AND start < {window.end}{_of(window)})"


def _overlapping(window: Window) -> str:
    return f"(start < {window.end} AND COALESCE(end, start) >= {window.start}{_of(window)})"


def _of(window: Window) -> str:
    return "" if window.process is None else f" AND (globalTid >> {_THREADS}) = {window.process}"
