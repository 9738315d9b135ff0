"""Fold the repeated blocks of a model: rows that say the same of several layers become one, for people."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from tracediff.diff.result import Kernel, Row


class FoldedRow(Struct, frozen=True, kw_only=True):
    """Rows that differ in their layer alone, in order of layers; the first speaks for all."""

    rows: tuple[Row, ...]

    @property
    def row(self) -> Row:
        """The row that speaks for all."""
        return self.rows[0]

    @property
    def layers(self) -> tuple[int, ...]:
        """Block indices, ascending; empty outside the blocks."""
        return tuple(row.layer for row in self.rows if row.layer is not None)


def fold(rows: Iterable[Row]) -> tuple[FoldedRow, ...]:
    """Fold rows of the same phase and kind that show the same kernels, launches and verdict, and are origins or not.

    Times, and what was passed on in the run, differ from layer to layer and do not keep rows apart.
    """
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(_signature(row), []).append(row)
    return tuple(FoldedRow(rows=tuple(group)) for group in groups.values())


def _signature(row: Row) -> object:
    if row.layer is None:
        return (row.phase, row.module)
    sides = tuple(tuple(_launch(kernel) for kernel in side) for side in (row.a, row.b))
    return (row.phase, row.kind, sides, row.verdict, row.reason, row.bits_equal)


def _launch(kernel: Kernel) -> object:
    return kernel.identity, kernel.grid, kernel.block, kernel.split_k
