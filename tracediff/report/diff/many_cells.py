"""The cells of a table of many traces, in words: what ran in modules of one kind, and what is known of their bits."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from tracediff.diff.many_overview import InTrace, ManyGroup
from tracediff.diff.result import Kernel, Row
from tracediff.diff.standing import Standing
from tracediff.kernels import KernelName
from tracediff.report.diff.lines import measured_words, split_k_change
from tracediff.report.diff.names import leading, short_name
from tracediff.report.diff.signs import sign_of
from tracediff.report.words import gpu_time
from tracediff.text import printable


class Cell(Struct, frozen=True, kw_only=True):
    """What one trace ran; every string is printable.

    Attributes:
        standing: The worst that is known of the bits; None in the first trace, and where nothing ran.
        heading: The same in words, and in how many of the modules where not in all; empty in the first trace.
        lines: Kernel and split-K where they changed, and bits where they may differ, of the modules with that standing;
            GPU time of all.
    """

    standing: Standing | None
    heading: str
    lines: tuple[str, ...]


def cells(group: ManyGroup, kernel_name: Callable[[KernelName], str] = short_name) -> tuple[Cell, ...]:
    """Return the cell of the first trace, then one for each other.

    Args:
        group: Modules of one kind.
        kernel_name: What to call a kernel.
    """
    time = gpu_time(kernel for row in group.reference for kernel in row.a)
    first = Cell(standing=None, heading="", lines=(_kernel_words(group.reference[0].a, kernel_name), time))
    return (first, *(_cell(trace, kernel_name) for trace in group.traces))


def _cell(trace: InTrace, kernel_name: Callable[[KernelName], str]) -> Cell:
    worst = trace.standing
    if worst is None:
        return Cell(standing=None, heading="– not in this trace", lines=())
    told = trace.worst
    part = "" if len(told) == len(trace.rows) else f" in {len(told):,} of {len(trace.rows):,}"
    row = told[0]
    changed = row.names_differ or row.split_k[0] != row.split_k[1]
    split = split_k_change(row) if changed and row.b else ""
    lines = (
        _kernel_words(row.b, kernel_name) if row.names_differ else "",
        f"split-K {split}" if split else "",
        _bits_words(told) if worst.open else "",
        gpu_time(kernel for row in trace.rows for kernel in row.b),
    )
    return Cell(
        standing=worst, heading=f"{sign_of(row)} {worst}{part}", lines=tuple(dict.fromkeys(filter(None, lines)))
    )


def _bits_words(rows: tuple[Row, ...]) -> str:
    bits = [row.isolated for row in rows if row.isolated is not None]
    return f"bits: {measured_words(bits)}" if bits else printable(rows[0].reason)


def _kernel_words(kernels: tuple[Kernel, ...], kernel_name: Callable[[KernelName], str]) -> str:
    kernel = leading(kernels)
    return "no kernel" if kernel is None else printable(kernel_name(kernel.parsed))
