"""Fold the repeated blocks of a model: rows that say the same of consecutive layers become one, for people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tracediff.diff.result import Kernel, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRow:
    """Rows that differ in their layer alone.

    Attributes:
        rows: The rows, in order of layers; the first stands for all.
        module: The module's path inside its block (`mlp.down_proj`), or its whole path outside the blocks.
    """

    rows: tuple[Row, ...]
    module: str

    @property
    def row(self) -> Row:
        """The row that stands for all."""
        return self.rows[0]

    @property
    def layers(self) -> tuple[int, ...]:
        """Block indices, ascending; empty outside the blocks."""
        return tuple(row.layer for row in self.rows if row.layer is not None)


def fold(rows: Iterable[Row]) -> tuple[FoldedRow, ...]:
    """Fold rows of the same phase and module that show the same kernels, launches and verdict, and are origins or not.

    Times, and what was passed on in the run, differ from layer to layer and do not keep rows apart.
    """
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(_signature(row), []).append(row)
    # An encoder's `layers.0.self_attn` is not a decoder's: where a model has several stacks, the stack is told.
    several = len({_stack(group[0]) for group in groups.values() if group[0].layer is not None}) > 1
    return tuple(
        FoldedRow(
            rows=tuple(group),
            module=f"{_stack(group[0])}*.{module_in_block(group[0])}"
            if several and group[0].layer is not None
            else module_in_block(group[0]),
        )
        for group in groups.values()
    )


def module_in_block(row: Row) -> str:
    """Return the module's path inside its block; the whole path outside the blocks."""
    if row.layer is None:
        return row.module
    # The block's own kernels (residual additions) have no path inside it.
    return around_layer(row.module, row.layer)[1].lstrip(".]/ ") or "(block)"


def around_layer(module: str, layer: int) -> tuple[str, str]:
    """Cut a module's path at its block's number: `model.layers.5.mlp` → `model.layers.`, `.mlp`.

    However the program writes it: `layers[5]`, `blocks/5`, `L05`.
    """
    found = re.search(rf"(?<![0-9])0*{layer}(?![0-9])", module)
    return (module, "") if found is None else (module[: found.start()], module[found.end() :])


def layer_span(layers: tuple[int, ...]) -> str:
    """Write layers as spans: `0–31`, `0, 2–4`."""
    spans: list[list[int]] = []
    for layer in layers:
        if spans and layer == spans[-1][1] + 1:
            spans[-1][1] = layer
        else:
            spans.append([layer, layer])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in spans)


def _signature(row: Row) -> object:
    if row.layer is None:
        return (row.phase, row.module)
    sides = tuple(tuple(_launch(kernel) for kernel in side) for side in (row.a, row.b))
    return (row.phase, around_layer(row.module, row.layer), sides, row.verdict, row.reason, row.bits_equal)


def _stack(row: Row) -> str:
    """Return the path of the blocks a row's block is one of (`model.layers.`)."""
    return "" if row.layer is None else around_layer(row.module, row.layer)[0]


def _launch(kernel: Kernel) -> object:
    return kernel.identity, kernel.grid, kernel.block, kernel.split_k
