"""Options of every command that reads a trace."""

from __future__ import annotations

from typing import Annotated

import typer

Rank = Annotated[int | None, typer.Option("--rank", min=0, help="Only this process, counted from 0.")]
Device = Annotated[int | None, typer.Option("--device", min=0, help="Only this GPU.")]
Iteration = Annotated[int | None, typer.Option("--iteration", min=0, help="Only this execution of each phase.")]
RangePattern = Annotated[
    str | None, typer.Option("--range", help="Only ranges whose text matches this regex; a group is the name.")
]
PhasePattern = Annotated[
    str | None, typer.Option("--phase-range", help="Ranges that match this regex are phases; a group is the name.")
]
LayerPattern = Annotated[
    str | None, typer.Option("--layer", help="Regex with a group that finds a layer's number in a module's name.")
]
