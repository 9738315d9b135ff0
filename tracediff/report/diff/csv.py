"""CSV: one line per aligned pair of kernels, for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.many import ManyDiff
from tracediff.diff.result import Kernel, Row, TraceDiff
from tracediff.text import csv_table

_ROW = ("phase", "layer", "module", "position")
_PAIR = ("verdict", "reason", "bits_equal", "state")
_KERNEL = (
    "name",
    "family",
    "role",
    "tile",
    "stages",
    "cluster",
    "split_k",
    "split_k_source",
    "grid",
    "block",
    "registers",
    "shared_memory_bytes",
    "duration_ns",
)
_DIFF_HEADER = (*_ROW, *_PAIR, *(f"{field}_{side}" for field in _KERNEL for side in "ab"))


def diff_to_csv(diff: TraceDiff, modules: ChosenModules | None = None) -> str:
    """Return the diff as CSV text; the side without a counterpart is empty.

    `bits_equal` and `state` are of the module, on equal inputs, and empty where they were not measured.

    Args:
        diff: The result.
        modules: Only these.
    """
    rows = diff.rows if modules is None else modules.rows(diff.rows)
    return csv_table(_DIFF_HEADER, (line for row in rows for line in _diff_lines(row)))


def many_to_csv(many: ManyDiff, modules: ChosenModules | None = None) -> str:
    """Return several comparisons with the first trace as CSV text; `trace` counts the others from 1."""
    header = ["trace", *_DIFF_HEADER]
    return csv_table(
        header,
        (
            [number, *line]
            for number, diff in enumerate(many.diffs, start=1)
            for row in (diff.rows if modules is None else modules.rows(diff.rows))
            for line in _diff_lines(row)
        ),
    )


def show_to_csv(rows: Iterable[Row]) -> str:
    """Return one trace's kernels (the rows' `a` side) as CSV text."""
    lines = ([*_place(row, position), *_cells(kernel)] for row in rows for position, kernel in enumerate(row.a))
    return csv_table([*_ROW, *_KERNEL], lines)


def _diff_lines(row: Row) -> Iterable[list[object]]:
    for position, pair in enumerate(row.pairs):
        sides = zip(_cells(pair.a), _cells(pair.b), strict=True)
        measured = row.bits_equal, None if row.state is None else str(row.state)
        cells = (cell for both in sides for cell in both)
        yield [*_place(row, position), str(pair.verdict), pair.reason, *measured, *cells]


def _place(row: Row, position: int) -> list[object]:
    return [row.phase, row.layer, row.module, position]


def _cells(kernel: Kernel | None) -> Sequence[object]:
    if kernel is None:
        return [None] * len(_KERNEL)
    parsed = kernel.parsed
    return [
        parsed.name,
        parsed.family,
        parsed.role,
        sizes(parsed.tile),
        parsed.stages,
        sizes(parsed.cluster),
        kernel.split_k,
        kernel.split_k_source,
        sizes(kernel.grid),
        sizes(kernel.block),
        kernel.registers,
        kernel.shared_memory_bytes,
        kernel.duration_ns,
    ]


def sizes(numbers: Sequence[int | None] | None) -> str | None:
    """Write sizes as `128x64x8`, an unknown one as `?`."""
    return None if numbers is None else "x".join("?" if number is None else str(number) for number in numbers)
