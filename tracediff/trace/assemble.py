"""Put a kernel table together: order of launch, keys, cuBLASLt's log, coverage. The same for every kind of trace."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from tracediff.errors import TracediffError
from tracediff.kernels import parse
from tracediff.text import count
from tracediff.trace.annotations import separate_annotations
from tracediff.trace.attribution import Attribution, attribute
from tracediff.trace.columns import LONGEST_TIME_NS, NULL, count_codes, first_places
from tracediff.trace.graphs import Capture
from tracediff.trace.logged import Moments, log_lines, logged_algorithms
from tracediff.trace.naming import Naming, name_ranges, number_by_place
from tracediff.trace.nvtx import Events, Marks, Ranges, find_ranges, named, range_texts
from tracediff.trace.ranges import NONE
from tracediff.trace.steps import shapes_of_steps, shared_by_steps_of_a_shape
from tracediff.trace.table import Bool, Coverage, Int32, Int64, KernelTable, RangeKey, TraceInfo
from tracediff.trace.unnamed import Attributed, place_unnamed


class Kernels(Struct, kw_only=True):
    """Kernels in the order of the file.

    Attributes:
        columns: Columns of the kernel table by name, those that every reader has of its own.
        texts: Distinct names; `columns["name"]` holds indices into it.
        thread: Code of the thread that launched each kernel, -1 for none.
        threads: The thread of each code.
        launch: Start of the launch call in ns, `NULL` for none.
    """

    columns: dict[str, npt.NDArray[Any]]
    texts: tuple[str, ...]
    thread: Int32
    threads: list[int]
    launch: Int64


class _Named(Struct, frozen=True, kw_only=True):
    """What a trace's events say.

    Attributes:
        ranges: The ranges that may be phases and modules, nested.
        marks: cuBLASLt's log.
        libraries: Ranges of libraries.
        layer: The user's regex for the number of a layer.
        notes: What was left out, one sentence each.
    """

    ranges: Ranges
    marks: Marks
    libraries: Events
    layer: re.Pattern[str] | None
    notes: tuple[str, ...]


class _Launched(Struct, frozen=True, kw_only=True):
    """Kernels in the order of launch, and what each was attributed to.

    Attributes:
        columns: Columns of the kernel table by name.
        thread: Code of the thread that launched each, -1 for none.
        launch_ns: Start of its launch; of a kernel without one its own start.
        without_launch: Whether the trace has no launch of it.
        innermost: The range around it.
        key, iteration, step_shape: As in `Attribution`.
        capture: Where kernels of CUDA graphs were captured.
    """

    columns: dict[str, npt.NDArray[Any]]
    thread: Int32
    launch_ns: Int64
    without_launch: Bool
    innermost: Int64
    key: Int32
    iteration: Int32
    step_shape: Int64
    capture: Capture


def assemble(
    kernels: Kernels, events: Events, capture: Capture, info: TraceInfo, notes: list[str], naming: Naming
) -> KernelTable:
    """Attribute kernels to ranges and make the kernel table.

    Args:
        kernels: What the trace says of its kernels; its dictionary of columns is put in order in place.
        events: Its ranges and marks.
        capture: Where kernels of CUDA graphs were captured.
        info: Where the trace comes from.
        notes: What its reader had to say.
        naming: What the user says of the ranges.

    Raises:
        TracediffError: Times that cannot be, or a pattern of the user's that matches no range.
    """
    if kernels.columns["duration_ns"].sum(dtype=np.float64) > LONGEST_TIME_NS:
        raise TracediffError(f"{info.path}: its kernels last longer than 127 years together", "record it again")
    texts, threads = kernels.texts, kernels.threads
    said = _named(events, info, naming)
    del events  # those of a large trace take as much room as its ranges
    duration = kernels.columns["duration_ns"]
    found = attribute(said.ranges, kernels.thread, threads, kernels.launch, capture, duration, said.layer)
    notes = [*notes, *said.notes, *_attribution_notes(found)]
    outside = _why_outside(found, said, kernels)
    launched = _in_order_of_launch(kernels, found, capture)
    del kernels

    columns = launched.columns
    parsed = tuple(parse(text) for text in texts)
    by_ranges = Attributed(
        keys=found.keys, key=launched.key, iteration=launched.iteration, around_captures=found.around_captures
    )
    placed = place_unnamed(by_ranges, parsed, columns, launched.launch_ns, launched.thread)
    keys, key = _by_first_launch(placed.keys, placed.key)
    keys, key = _distinct(number_by_place(keys), key)
    is_gemm = np.array([each.role == "gemm" for each in parsed], dtype=bool)[columns["name"]]
    moments = Moments(thread=launched.thread, time=launched.launch_ns, around=launched.innermost)
    algorithms, algorithm = logged_algorithms(said.marks, said.ranges, threads, moments, launched.capture, is_gemm)
    shapes, shape = shapes_of_steps(launched.step_shape, columns["process"])
    if shapes and algorithms:
        algorithm = shared_by_steps_of_a_shape(algorithm, np.flatnonzero(is_gemm), shape, key, columns)
    covered = _coverage(keys, key, launched.without_launch, found)
    return KernelTable(
        info=info,
        coverage=replace(covered, by_repetition=placed.placed, **outside),
        names=texts,
        parsed=parsed,
        keys=keys,
        algorithms=algorithms,
        key=key,
        algorithm=algorithm,
        iteration=placed.iteration,
        launch_ns=launched.launch_ns,
        shapes=shapes,
        shape=shape,
        notes=(*notes, *placed.notes),
        **columns,
    )


def _named(events: Events, info: TraceInfo, naming: Naming) -> _Named:
    """Tell phases, modules and libraries apart.

    Raises:
        TracediffError: A pattern of the user's matches no range.
    """
    separated = separate_annotations(events, naming)
    names = name_ranges(separated.events.texts, range_texts(separated.events), naming)
    if names.unmatched:
        hint = "`tracediff show` without it names the phases and modules"
        raise TracediffError(f"{info.path}: no range matches {' or '.join(names.unmatched)}", hint)
    ranges = find_ranges(named(separated.events, names.of_text), names.phases)
    return _Named(
        ranges=ranges,
        marks=log_lines(separated.events),
        libraries=separated.libraries,
        layer=names.layer,
        notes=(*ranges.notes, *separated.notes, *names.notes),
    )


def _in_order_of_launch(kernels: Kernels, found: Attribution, capture: Capture) -> _Launched:
    """Put kernels and what they were attributed to in the order of launch."""
    columns = kernels.columns
    without_launch = kernels.launch == NULL
    launch_ns = np.where(without_launch, columns["start_ns"], kernels.launch)
    order = _launch_order(launch_ns, capture, columns["start_ns"])
    if order is not None and len(capture.kernel):
        capture = replace(capture, kernel=np.argsort(order)[capture.kernel])
    for name in () if order is None else columns:  # one after the other: a single column is held twice
        columns[name] = columns[name][order]
    return _Launched(
        columns=columns,
        thread=_taken(kernels.thread, order),
        launch_ns=_taken(launch_ns, order),
        without_launch=_taken(without_launch, order),
        innermost=_taken(found.innermost, order),
        key=_taken(found.key, order),
        iteration=_taken(found.iteration, order),
        step_shape=_taken(found.shape, order) if len(found.shape) else found.shape,
        capture=capture,
    )


def _taken(column: npt.NDArray[Any], order: Int64 | None) -> npt.NDArray[Any]:
    """Return a column in a new order; None leaves it as it is."""
    return column if order is None else column[order]


def _why_outside(found: Attribution, said: _Named, kernels: Kernels) -> dict[str, int]:
    """Count kernels outside every range by what would give them to one."""
    launch = kernels.launch
    left = np.flatnonzero((found.innermost == NONE) & (launch != NULL))
    counts = {"several_threads": found.several_threads, "in_library_ranges": 0, "before_ranges": 0}
    if len(left) and len(said.ranges.start):
        counts["before_ranges"] = int((launch[left] < said.ranges.start.min()).sum())
    if len(left) and len(said.libraries.start):
        around = find_ranges(said.libraries).innermost(kernels.thread[left], kernels.threads, launch[left])
        counts["in_library_ranges"] = int((around != NONE).sum())
    return counts


def _attribution_notes(found: Attribution) -> list[str]:
    notes = []
    if found.captured:
        notes.append(f"{count(found.captured, 'kernel')} of replayed CUDA graphs given to the modules of their capture")
    if found.from_other_threads:
        notes.append(f"{count(found.from_other_threads, 'kernel')} given to ranges open on another thread")
    return notes


def _launch_order(launch_ns: Int64, capture: Capture, start: Int64) -> Int64 | None:
    """Return the order of launch, None where the rows have it already.

    All kernels of a graph share one launch; they are put in the order of capture, whatever order they ran in.
    """
    ties = np.flatnonzero(launch_ns[1:] == launch_ns[:-1])
    in_order = bool((launch_ns[1:] >= launch_ns[:-1]).all())
    if in_order and not len(capture.kernel) and (start[ties + 1] >= start[ties]).all():
        return None
    order = np.argsort(start, kind="stable")
    if len(capture.kernel):
        captured = np.zeros_like(start)
        captured[capture.kernel] = capture.moment
        order = order[np.argsort(captured[order], kind="stable")]
    return order[np.argsort(launch_ns[order], kind="stable")]


def _by_first_launch(keys: tuple[RangeKey, ...], key: Int32) -> tuple[tuple[RangeKey, ...], Int32]:
    """Return the keys that kernels have, in order of first launch, and each kernel's."""
    first = first_places(key, len(keys))
    by_launch = np.argsort(first, kind="stable")
    by_launch = by_launch[first[by_launch] < len(key)]
    rank = np.zeros(len(keys), dtype=np.int32)
    rank[by_launch] = np.arange(len(by_launch), dtype=np.int32)
    return tuple(keys[code] for code in by_launch.tolist()), rank[key]


def _distinct(keys: tuple[RangeKey, ...], key: Int32) -> tuple[tuple[RangeKey, ...], Int32]:
    """Return each key once, and each kernel's: a module without a name is its phase, and two may be named alike."""
    if len(set(keys)) == len(keys):
        return keys, key
    places: dict[RangeKey, int] = {}
    place = np.array([places.setdefault(each, len(places)) for each in keys], dtype=np.int32)
    return tuple(places), place[key]


def _coverage(
    keys: tuple[RangeKey, ...], key: Int32, without_launch: npt.NDArray[np.bool_], found: Attribution
) -> Coverage:
    kernels = count_codes(key, len(keys)).tolist()
    outside = next((code for code, each in enumerate(keys) if each.phase is None), len(keys))
    no_launch = int(((key == outside) & without_launch).sum())
    in_module = sum(number for each, number in zip(keys, kernels, strict=True) if each.module)
    in_phase = sum(number for each, number in zip(keys, kernels, strict=True) if each.phase is not None) - in_module
    return Coverage(
        kernels=len(key),
        in_module=in_module,
        in_phase_only=in_phase,
        outside_ranges=len(key) - in_module - in_phase - no_launch,
        no_launch=no_launch,
        captured=found.captured,
        from_other_threads=found.from_other_threads,
    )
