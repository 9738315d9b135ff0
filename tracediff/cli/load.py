"""Load a trace for a command: any kind, the part the user means, with ranges named as the user says.

Reports of nsys are exported first, and their path stays the one the user named.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tracediff.trace import KernelTable

#: Options of every command that reads a trace.
Rank = Annotated[int | None, typer.Option("--rank", min=0, help="Only this process, counted from 0.")]
Device = Annotated[int | None, typer.Option("--device", min=0, help="Only this GPU.")]
Iteration = Annotated[int | None, typer.Option("--iteration", min=0, help="Only this occurrence of each phase.")]
RangePattern = Annotated[
    str | None, typer.Option("--range", help="Only ranges whose text matches this regex; a group is the name.")
]
PhasePattern = Annotated[
    str | None, typer.Option("--phase-range", help="Ranges that match this regex are phases; a group is the name.")
]
LayerPattern = Annotated[
    str | None, typer.Option("--layer", help="Regex with a group that finds a layer's number in a module's name.")
]


def load_trace(
    path: Path,
    *,
    rank: int | None = None,
    device: int | None = None,
    iteration: int | None = None,
    range_pattern: str | None = None,
    phase_pattern: str | None = None,
    layer_pattern: str | None = None,
) -> KernelTable:
    """Read any kind of trace.

    Args:
        path: The trace, or a report of nsys.
        rank, device, iteration: The part that is meant.
        range_pattern, phase_pattern, layer_pattern: What the user says of the ranges.

    Raises:
        TracediffError: It cannot be read, or has no such part; the message says why.
    """
    from tracediff.trace import Naming, read_trace
    from tracediff.trace.part import Part, choose

    naming = Naming(range=range_pattern, phase=phase_pattern, layer=layer_pattern)
    if path.suffix in {".nsys-rep", ".qdrep"} and path.is_file():
        from tracediff.capture.report_cache import exported
        from tracediff.cli.options import say

        table = read_trace(exported(path, say), naming)
        table = replace(table, info=replace(table.info, path=str(path)))
    else:
        table = read_trace(path, naming)
    return choose(table, Part(rank=rank, device=device, iteration=iteration))
