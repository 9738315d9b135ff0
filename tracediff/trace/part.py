"""Choose a part of a trace (a process, a GPU, an iteration), and explain what each kernel was attributed to."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from tracediff.errors import TracediffError
from tracediff.text import count, shorten
from tracediff.trace.columns import first_places
from tracediff.trace.table import Coverage, KernelTable

_COLUMNS = (
    "name", "key", "algorithm", "iteration", "launch_ns", "start_ns", "duration_ns", "grid", "block", "registers",
    "shared_memory_bytes", "device", "stream", "process",
)  # fmt: skip
_SHOWN = 5
_RECORD = "tracediff record -- COMMAND pushes one for every module"
_RECORDED = ", though every module that is called has one: compiled code calls none, nor does a program's own work"


class Part(Struct, frozen=True, kw_only=True):
    """Which kernels of a trace to keep. None means no limit, except that of several processes the first is kept.

    Attributes:
        rank: The process, by its place among those that ran kernels.
        device: The GPU, by the profiler's id.
        iteration: Which occurrence of its phase.
    """

    rank: int | None = None
    device: int | None = None
    iteration: int | None = None


def choose(table: KernelTable, part: Part) -> KernelTable:
    """Return the part of a table; the table itself where that is all of it.

    Ranks launch at the same time, so a table holds their kernels interleaved; only one rank's sequence is compared.

    Raises:
        TracediffError: The trace has no such part.
    """
    keep = np.ones(len(table), dtype=np.bool_)
    notes = list(table.notes)
    ranks = _there(table.process)
    rank = part.rank
    if rank is None and len(ranks) > 1:
        rank = ranks[0]
        notes.append(f"{len(ranks)} processes ran kernels; read: process {rank} (--rank chooses another)")
    for option, wanted, column in (
        ("rank", rank, table.process),
        ("device", part.device, table.device),
        ("iteration", part.iteration, table.iteration),
    ):
        if wanted is not None:
            keep &= column == wanted
            if not keep.any():
                there = _there(column[column >= 0])
                shown = ", ".join(str(each) for each in there[:20]) + (" …" if len(there) > 20 else "")
                raise TracediffError(f"{table.info.path} has no kernels of --{option} {wanted}", f"it has {shown}")
    return take(table, keep, tuple(notes[len(table.notes) :]))


def take(table: KernelTable, keep: npt.NDArray[np.bool_], notes: tuple[str, ...] = ()) -> KernelTable:
    """Return the kernels of a table that are to be kept.

    Args:
        table: The table.
        keep: Whether each kernel is.
        notes: What a reader of the result must know, besides the table's notes.
    """
    notes = (*table.notes, *notes)
    if keep.all():
        return replace(table, notes=notes)
    columns = {column: getattr(table, column)[keep] for column in _COLUMNS}
    if table.shapes:
        columns["shape"] = table.shape[keep]
    keys, columns["key"] = np.unique(columns["key"], return_inverse=True)
    # In a part, too, keys are in order of first launch.
    order = np.argsort(first_places(columns["key"], len(keys)))
    rank_of = np.empty(len(keys), dtype=np.int32)
    rank_of[order] = np.arange(len(keys), dtype=np.int32)
    columns["key"] = rank_of[columns["key"]]
    chosen = replace(table, keys=tuple(table.keys[keys[index]] for index in order), notes=notes, **columns)
    return replace(chosen, coverage=_coverage(chosen))


def explain_coverage(table: KernelTable) -> list[str]:
    """Say how many kernels were attributed, to what, and why the others were not; one line each."""
    covered = table.coverage
    lines = [
        count(covered.kernels, "kernel"),
        f"  {covered.in_module:,} in a module: a range below a phase, or a block that repeats",
        f"  {covered.in_phase_only:,} directly under a phase, in no range below it",
        f"  {covered.outside_ranges:,} outside: no range was open when they were launched",
        f"  {covered.no_launch:,} without a launch: the call that started them is not in the trace",
        f"of these, {covered.captured:,} by the capture of their CUDA graph, "
        f"{covered.from_other_threads:,} by a range of another thread, {covered.by_repetition:,} by repetition",
        *_levers(covered, recorded=bool(table.shapes)),
    ]
    phases = Counter[str | None]()
    for key, kernels in zip(table.keys, np.bincount(table.key, minlength=len(table.keys)).tolist(), strict=True):
        phases[key.phase] += kernels
    lines.append("by phase:")
    for phase, kernels in phases.most_common():
        lines.append(f"  {kernels:,} in {'no phase' if phase is None else shorten(phase, 60)}")
    outside = np.array([key.phase is None for key in table.keys], dtype=np.bool_)[table.key]
    if outside.any():
        names = Counter(table.name[outside].tolist())
        lines.append("outside every phase:")
        lines += [f"  {kernels:,} × {shorten(table.names[code], 90)}" for code, kernels in names.most_common(_SHOWN)]
        if len(names) > _SHOWN:
            lines.append(f"  and {count(len(names) - _SHOWN, 'other name')}")
    return lines + [f"note: {note}" for note in table.notes]


def _levers(covered: Coverage, recorded: bool) -> list[str]:
    """Say what would give most of the kernels that are in no module to one, or why nothing would.

    Args:
        covered: What was attributed.
        recorded: Whether `tracediff record` made the trace.
    """
    outside = covered.outside_ranges
    if not outside and covered.in_module >= covered.in_phase_only:
        return []
    nowhere = outside - covered.several_threads - covered.in_library_ranges - covered.before_ranges
    around, inside = f": put one around what launches them ({_RECORD})", f": record with some ({_RECORD})"
    levers = [
        (covered.several_threads, "several other threads had a range open: choose those of one thread with --range"),
        (covered.in_library_ranges, "a range of a library was open: count it with --range"),
        (covered.before_ranges, "no range had begun yet: most likely set-up, which nothing need be done about"),
        (nowhere, f"no range was open on any thread{_RECORDED if recorded else around}"),
        (covered.in_phase_only, f"the phase has no ranges inside{_RECORDED if recorded else inside}"),
    ]
    known = sorted((lever for lever in levers if lever[0] > 0), key=lambda lever: -lever[0])
    return [f"first lever, for {kernels:,} of them: {what}" for kernels, what in known[:1]]


def _there(column: npt.NDArray[np.int32]) -> list[int]:
    if not len(column) or column.min() == column.max():
        return [int(each) for each in column[:1]]
    ordered = np.sort(column)
    return [int(each) for each in ordered[np.append(True, ordered[1:] != ordered[:-1])]]


def _coverage(table: KernelTable) -> Coverage:
    counts = np.bincount(table.key, minlength=len(table.keys)).tolist()
    in_module = sum(number for key, number in zip(table.keys, counts, strict=True) if key.module)
    in_phase = sum(number for key, number in zip(table.keys, counts, strict=True) if key.phase is not None) - in_module
    outside = np.array([key.phase is None for key in table.keys], dtype=np.bool_)[table.key]
    # A launch begins before its kernel. A kernel without one has its own start in that column.
    no_launch = int((outside & (table.launch_ns == table.start_ns)).sum())
    # What came from graphs, other threads or repetition was only counted for the whole trace.
    return Coverage(
        kernels=len(table),
        in_module=in_module,
        in_phase_only=in_phase,
        outside_ranges=len(table) - in_module - in_phase - no_launch,
        no_launch=no_launch,
    )
