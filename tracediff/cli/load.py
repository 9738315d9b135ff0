"""Options of every command that reads a trace."""

from __future__ import annotations

from collections.abc import Callable

import click

_OPTIONS = (
    click.option("--rank", type=click.IntRange(min=0), help="Only this process, counted from 0."),
    click.option("--device", type=click.IntRange(min=0), help="Only this GPU."),
    click.option("--iteration", type=click.IntRange(min=0), help="Only this execution of each phase."),
    click.option(
        "--range",
        "range_pattern",
        help="Only ranges whose text matches this regex; a group is the name.",
        metavar="REGEX",
    ),
    click.option(
        "--phase-range",
        "phase_pattern",
        help="Ranges that match this regex are phases; a group is the name.",
        metavar="REGEX",
    ),
    click.option(
        "--layer",
        "layer_pattern",
        help="Regex with a group that finds a layer's number in a module's name.",
        metavar="REGEX",
    ),
)


def part_of_a_trace(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose a part of a trace; they are named as `tracediff.api.open` names them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
