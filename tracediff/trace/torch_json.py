"""A PyTorch profiler trace (Chrome JSON as `export_chrome_trace` writes it, gzipped or not) → kernel table.

kernel → launch call by correlation id → innermost range open on the calling thread. Ranges are `record_function`
blocks and, where the Python stack was recorded, nn.Module calls. A trace without a GPU holds operators only; those that
compute then take the kernels' place, so that two CPU runs compare, and the table says so.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tracediff.errors import TracediffError
from tracediff.text import count, without_surrogates
from tracediff.trace.assemble import Kernels, assemble
from tracediff.trace.columns import NULL, Texts, narrow
from tracediff.trace.foreign import foreign_json
from tracediff.trace.graphs import Capture
from tracediff.trace.info import described
from tracediff.trace.json_events import Arguments, Event, open_events
from tracediff.trace.launches import Launches
from tracediff.trace.naming import Naming
from tracediff.trace.nvtx import DOMAIN, OWN_DOMAIN, PUSH_POP, Events, find_ranges
from tracediff.trace.ranges import NONE, nest
from tracediff.trace.table import Int64, KernelTable, TraceInfo
from tracediff.trace.torch_modules import PREFIX, module_paths


class _Kind(Enum):
    """How an event is used."""

    KERNEL = auto()
    CALL = auto()
    RANGE = auto()
    OPERATOR = auto()
    OTHER = auto()


#: Categories in lower case; profilers before 2022 wrote them in capitals.
_KINDS = {
    "kernel": _Kind.KERNEL,
    **dict.fromkeys(("cuda_runtime", "cuda_driver", "hip_runtime", "hip_driver", "runtime", "driver"), _Kind.CALL),
    "user_annotation": _Kind.RANGE,
    **dict.fromkeys(("cpu_op", "operator"), _Kind.OPERATOR),
}
#: torch 1.8 to 1.10 gave ranges the category of operators: `ProfilerStep#3`, `Optimizer.step#SGD.step`.
_OLD_OPERATORS = "Operator"
_OLD_RANGE = re.compile(r"[^:]*#.*|(?:enumerate\()?DataLoader.*", re.DOTALL)
#: Operators that compute nothing: they allocate, or make another view of the same elements.
_BOOKKEEPING = re.compile(
    "aten::(_reshape_alias|_unsafe_view|alias|as_strided|chunk|contiguous|detach|empty|empty_like|empty_strided|expand|"
    "expand_as|flatten|is_nonzero|item|narrow|permute|reshape|resize_|resolve_conj|resolve_neg|result_type|select|slice|"
    "split|squeeze|t|to|transpose|unbind|unflatten|unsqueeze|view|view_as)"
)
_NO_ARGUMENTS = Arguments()
_NO_ONE = np.zeros(0, dtype=np.int64)


class _Columns:
    """Events of one kind, as columns of integers that grow by batches."""

    def __init__(self, *names: str) -> None:
        self._parts: dict[str, list[Int64]] = {name: [_NO_ONE] for name in names}

    def add(self, **columns: list[int] | Int64) -> None:
        for name, values in columns.items():
            self._parts[name].append(np.asarray(values, dtype=np.int64))

    def __len__(self) -> int:
        return sum(len(part) for part in next(iter(self._parts.values())))

    def __getitem__(self, name: str) -> Int64:
        whole = np.concatenate(self._parts[name])
        self._parts[name] = [whole]
        return whole


class _Collector:
    """Sorts the events of a trace into columns."""

    def __init__(self) -> None:
        self.kernels = _Columns(
            "name", "start", "duration", "device", "stream", "correlation", "registers", "shared",
            "grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z",
        )  # fmt: skip
        self.calls = _Columns("start", "globalTid", "correlationId")
        self.ranges = _Columns("text", "start", "end", "thread")
        self.operators = _Columns("text", "start", "end", "thread")
        self.names, self.texts, self.threads = Texts(), Texts(), _Threads()
        self.without_time = 0
        self._kinds: dict[str, _Kind] = {}
        self._computes: dict[str, bool] = {}

    def add(self, batch: list[Event]) -> None:
        """Add a batch of events."""
        by_kind: dict[_Kind, list[Event]] = {kind: [] for kind in _Kind}
        for event in batch:
            if event.ph == "X":
                kind = self._kinds.get(event.cat) or self._kind_of(event.cat)
                if kind is _Kind.OTHER or kind is _Kind.OPERATOR:
                    kind = self._kind_by_name(kind, event)
                by_kind[kind].append(event)
        del by_kind[_Kind.OTHER]
        for kind, events in by_kind.items():
            timed = [event for event in events if event.ts is not None]
            self.without_time += len(events) - len(timed)
            if timed:
                start = _ns([event.ts or 0.0 for event in timed])
                self._add(kind, timed, start, _ns([event.dur for event in timed]))

    def _kind_of(self, category: str) -> _Kind:
        return self._kinds.setdefault(category, _KINDS.get(category.lower(), _Kind.OTHER))

    def _kind_by_name(self, kind: _Kind, event: Event) -> _Kind:
        """Tell ranges among events of other kinds, and operators that compute from those that do not."""
        name = event.name
        if name.startswith(PREFIX):
            return _Kind.RANGE
        if kind is _Kind.OPERATOR:
            if event.cat == _OLD_OPERATORS and _OLD_RANGE.fullmatch(name):
                return _Kind.RANGE
            computes = self._computes.get(name)
            if computes is None:
                computes = self._computes[name] = _BOOKKEEPING.fullmatch(name) is None
            return kind if computes else _Kind.OTHER
        return kind

    def _add(self, kind: _Kind, events: list[Event], start: Int64, duration: Int64) -> None:
        if kind is _Kind.KERNEL:
            self._add_kernels(events, start, duration)
        elif kind is _Kind.CALL:
            self.calls.add(start=start, globalTid=self.threads.codes(events), correlationId=_correlations(events))
        else:
            columns = self.ranges if kind is _Kind.RANGE else self.operators
            text = [self.texts.code(event.name) for event in events]
            columns.add(text=text, start=start, end=start + duration, thread=self.threads.codes(events))

    def _add_kernels(self, events: list[Event], start: Int64, duration: Int64) -> None:
        arguments = [event.args or _NO_ARGUMENTS for event in events]
        grid, block = (
            np.array([_three(each) for each in sizes], dtype=np.int64)
            for sizes in ([each.grid for each in arguments], [each.block for each in arguments])
        )
        self.kernels.add(
            name=[self.names.code(event.name) for event in events],
            start=start,
            duration=np.maximum(duration, 0),
            correlation=_correlations(events),
            **{
                column: [getattr(each, column) or 0 for each in arguments]
                for column in ("device", "stream", "registers", "shared")
            },
            **{f"grid_{axis}": grid[:, place] for place, axis in enumerate("xyz")},
            **{f"block_{axis}": block[:, place] for place, axis in enumerate("xyz")},
        )


def _is_wanted(phase: object, category: object) -> bool:
    return phase == "X" and isinstance(category, str) and category.lower() in _KINDS


def read_torch_json(path: Path, naming: Naming) -> KernelTable:
    """Read the kernel table of a PyTorch profiler trace.

    Raises:
        TracediffError: The file is no such trace, is damaged, or holds neither kernels nor operators.
    """
    found = _Collector()
    with open_events(path, Event) as trace:
        for batch in trace.batches(_is_wanted):
            found.add(batch)
    notes = []
    if trace.malformed:
        notes.append(f"events with malformed fields, which read as missing: {trace.malformed:,} ({trace.complaint})")
    if found.without_time:
        notes.append(f"events without a usable time, left out: {found.without_time:,}")
    events = _with_paths(_events(found.ranges, found.texts.values))
    if trace.head.get("profiledBy") == OWN_DOMAIN and len(events.start):
        events = _in_own_domain(events)
    info, complaint = _info(path, trace.head)
    if complaint:
        notes.append(f"what the trace says of its device and versions is malformed and not used ({complaint})")
    none = Capture(kernel=_NO_ONE, thread=_NO_ONE, moment=_NO_ONE)
    if not len(found.kernels):
        operators = _leaves(_events(found.operators, found.texts.values), found.threads)
        if not len(operators.thread):
            raise _nothing_to_read(path, trace.begin, notes)
        notes.append("no GPU kernels were recorded: the rows are CPU operators that compute and call no other")
        return assemble(operators, events, none, info, notes, naming)
    kernels = found.kernels
    launches = Launches(np.zeros(len(kernels), dtype=np.int32), kernels["correlation"], None)
    launches.add({column: found.calls[column] for column in ("start", "globalTid", "correlationId")})
    thread, launch = launches.result()
    columns: dict[str, npt.NDArray[Any]] = {
        "name": kernels["name"].astype(np.int32),
        "process": np.zeros(len(kernels), dtype=np.int32),
        "start_ns": kernels["start"],
        "duration_ns": kernels["duration"],
        "grid": np.stack([narrow(kernels[f"grid_{axis}"]) for axis in "xyz"], axis=1),
        "block": np.stack([narrow(kernels[f"block_{axis}"]) for axis in "xyz"], axis=1),
        "registers": narrow(kernels["registers"]),
        "shared_memory_bytes": narrow(kernels["shared"]),
        "device": narrow(kernels["device"]),
        "stream": narrow(kernels["stream"]),
    }
    graph_launches = _kernels_of_shared_launches(kernels["correlation"])
    if graph_launches:
        notes.append(
            f"{count(graph_launches, 'kernel')} of CUDA graphs: torch's profiler does not record in which modules a "
            "graph was captured; nsys with --cuda-graph-trace=node does"
        )
    threads = launches.threads.values
    table = Kernels(columns=columns, texts=found.names.values, thread=thread, threads=threads, launch=launch)
    return assemble(table, events, none, info, notes, naming)


def _nothing_to_read(path: Path, begin: bytes, notes: list[str]) -> TracediffError:
    foreign = foreign_json(path, begin)
    if foreign is not None:
        return foreign
    what = f"{path} holds neither kernels nor operators"
    return TracediffError(f"{what}; {notes[0]}" if notes else what, "record with torch.profiler.profile()")


class _Threads:
    """Numbers for threads, small enough to lie below nsys's process ids: a trace holds one process."""

    def __init__(self) -> None:
        self._codes: dict[tuple[object, object], int] = {}

    def codes(self, events: list[Event]) -> list[int]:
        known = self._codes
        return [known.setdefault((event.pid, event.tid), len(known) + 1) for event in events]

    @property
    def values(self) -> list[int]:
        return list(self._codes.values())


def _events(ranges: _Columns, texts: tuple[str, ...]) -> Events:
    count = len(ranges)
    return Events(
        start=ranges["start"],
        end=ranges["end"],
        kind=np.full(count, PUSH_POP, dtype=np.int64),
        thread=ranges["thread"],
        end_thread=np.full(count, NULL, dtype=np.int64),
        domain=np.zeros(count, dtype=np.int64),
        text=ranges["text"].astype(np.int32),
        payload=np.full(count, NULL, dtype=np.int64),
        texts=texts,
    )


def _in_own_domain(events: Events) -> Events:
    """Add the row that names the ranges' domain: in tracediff's own captures the phases are inside `run`."""
    events = events.take(np.append(np.arange(len(events.start)), 0))
    events.kind[-1], events.text[-1] = DOMAIN, len(events.texts)
    return replace(events, texts=(*events.texts, OWN_DOMAIN))


def _with_paths(events: Events) -> Events:
    """Replace the texts of nn.Module calls by their paths."""
    if not any(text.startswith(PREFIX) for text in events.texts):
        return events
    ranges = find_ranges(events)
    paths = module_paths(ranges.parent, ranges.text.astype(np.int64), events.texts)
    return events.renamed([paths.get(code, text) for code, text in enumerate(events.texts)])


def _leaves(operators: Events, threads: _Threads) -> Kernels:
    """Return the operators that call no other that computes, as kernels that launch themselves."""
    rows: list[Int64] = []
    for thread in threads.values:
        mine = np.flatnonzero((operators.thread == thread) & (operators.end > operators.start))
        mine = mine[np.lexsort((-operators.end[mine], operators.start[mine]))]
        parent = nest(operators.start[mine], operators.end[mine]).parent
        is_leaf = np.ones(len(mine), dtype=np.bool_)
        is_leaf[parent[parent != NONE]] = False
        rows.append(mine[is_leaf])
    leaves = operators.take(np.sort(np.concatenate([_NO_ONE, *rows])))
    count = len(leaves.start)
    nothing = np.zeros(count, dtype=np.int32)
    distinct = Texts()
    name = np.array([distinct.code(leaves.texts[code]) for code in leaves.text.tolist()], dtype=np.int32)
    return Kernels(
        columns={
            "name": name,
            "start_ns": leaves.start,
            "duration_ns": leaves.end - leaves.start,
            "grid": np.zeros((count, 3), dtype=np.int32),
            "block": np.zeros((count, 3), dtype=np.int32),
            **{
                column: nothing.copy() for column in ("process", "registers", "shared_memory_bytes", "device", "stream")
            },
        },
        texts=distinct.values,
        thread=(leaves.thread - 1).astype(np.int32),
        threads=threads.values,
        launch=leaves.start,
    )


def _kernels_of_shared_launches(correlation: Int64) -> int:
    """Count the kernels that share their launch with others: only a graph's launch starts several."""
    known = correlation[correlation != NULL]
    distinct, count = np.unique(known, return_counts=True)
    return int(count[count > 1].sum()) if len(distinct) else 0


class _Device(msgspec.Struct):
    name: str | None = None
    numSms: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None  # noqa: N815 -- as it is spelled there


class _Head(msgspec.Struct):
    """What is used of the members before the events."""

    deviceProperties: list[_Device] = []  # noqa: N815
    schemaVersion: int | None = None  # noqa: N815
    cuda_driver_version: int | None = None
    cuda_runtime_version: int | None = None


def _info(path: Path, members: dict[str, Any]) -> tuple[TraceInfo, str]:
    """Return where the trace comes from, and what is wrong if its own description cannot be used."""
    complaint = ""
    try:
        head = msgspec.convert(members, _Head)
    except msgspec.ValidationError as error:
        head, complaint = _Head(), str(error)
    device = head.deviceProperties[0] if head.deviceProperties else _Device()
    versions = {"cuda_driver": head.cuda_driver_version, "cuda_runtime": head.cuda_runtime_version}
    info = described(
        path,
        profiler="torch",
        profiler_version=None,
        schema_version=None if head.schemaVersion is None else str(head.schemaVersion),
        gpu=without_surrogates(device.name) if device.name else None,
        sm_count=device.numSms,
        versions={name: str(version) for name, version in versions.items() if version is not None},
    )
    return info, complaint


def _ns(microseconds: list[float]) -> Int64:
    return np.rint(np.array(microseconds, dtype=np.float64) * 1000).astype(np.int64)


def _correlations(events: list[Event]) -> list[int]:
    found = (event.args.correlation if event.args else None for event in events)
    return [NULL if each is None else each for each in found]


def _three(sizes: list[int] | None) -> list[int]:
    return [*(sizes or ()), 0, 0, 0][:3]
