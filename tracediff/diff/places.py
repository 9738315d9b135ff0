"""Where a module is in its model: its kind, its path inside its block, names for both, and layers as spans."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tracediff.text import printable
from tracediff.trace.ranges import block_number

if TYPE_CHECKING:
    from tracediff.diff.result import Row

#: What kernels in no phase, and those directly under one, are called.
OUTSIDE = "outside every range"
NO_MODULE = "(no module)"
_STEP = re.compile(r"\[\d+\]$")


def phase_name(phase: str | None) -> str:
    """Return a phase's name for people; the trace's own, so that it can be given to `--phase`."""
    return OUTSIDE if phase is None else printable(phase) or "(unnamed phase)"


def section_name(phase: str | None) -> str | None:
    """Return the name that steps of one phase share: `decode` for `decode[3]`; None outside every range."""
    return None if phase is None else _STEP.sub("", phase)


def module_name(name: str) -> str:
    """Return a module's name for people."""
    return printable(name) or NO_MODULE


def around_layer(module: str, layer: int) -> tuple[str, str]:
    """Cut a module's path at its block's number: `model.layers.5.mlp` → `model.layers.`, `.mlp`.

    However the program writes it: `layers[5]`, `blocks/5`, `L05`. A number that is a word of its own comes before one
    that is part of a word.
    """
    usual = block_number(module)
    if usual is not None and int(module[slice(*usual)]) == layer:
        return module[: usual[0]], module[usual[1] :]
    for edge in ("[0-9A-Za-z]", "[0-9]"):
        found = re.search(rf"(?<!{edge})0*{layer}(?!{edge})", module)
        if found is not None:
            return module[: found.start()], module[found.end() :]
    return module, ""


def kind_of(module: str, layer: int | None) -> str:
    """Return a module's path with its block's number replaced by `*`: equal for the same place in every block."""
    return module if layer is None else "*".join(around_layer(module, layer))


def path_in_block(module: str, layer: int | None) -> str:
    """Return the module's path inside its block, `(block)` for the block itself; the whole path outside the blocks."""
    if layer is None:
        return module
    # Some kernels, residual additions for one, are launched by the block itself.
    return around_layer(module, layer)[1].lstrip(".]/ ") or "(block)"


def kind_names(rows: Iterable[Row]) -> dict[str, str]:
    """Return a name for each kind: its path inside the block, or all of it where the model has several stacks.

    An encoder's `layers.0.self_attn` is not a decoder's.
    """
    first = {row.kind: row for row in rows}
    stacks = {around_layer(row.module, row.layer)[0] for row in first.values() if row.layer is not None}
    return {
        kind: kind if row.layer is not None and len(stacks) > 1 else path_in_block(row.module, row.layer)
        for kind, row in first.items()
    }


def short_names(rows: Iterable[Row]) -> dict[str, str]:
    """Return a short name for each kind: the last part of its path, as much more as tells it from the other kinds."""
    first = {row.kind: row for row in rows}
    paths = {kind: path_in_block(row.module, row.layer) for kind, row in first.items()}
    names = {kind: (path.rpartition(".")[2], path, kind) for kind, path in paths.items()}
    counts = [Counter(column) for column in zip(*names.values(), strict=True)]
    return {
        kind: next(name for name, count in zip(candidates, counts, strict=True) if count[name] == 1)
        for kind, candidates in names.items()
    }


def layer_span(layers: Iterable[int]) -> str:
    """Write ascending layers as spans: `0–31`, `0, 2–4`."""
    spans: list[list[int]] = []
    for layer in layers:
        if spans and layer == spans[-1][1] + 1:
            spans[-1][1] = layer
        else:
            spans.append([layer, layer])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in spans)
