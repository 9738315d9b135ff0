"""`tracediff fleet`: which traces of a dataset run other kernels than the rest."""

from enum import StrEnum
from pathlib import Path

import typer

from tracediff.cli import app
from tracediff.cli.options import emit


class Format(StrEnum):
    """How the groups are printed."""

    TEXT = "text"
    JSON = "json"


@app.command()
def fleet(
    dataset: Path = typer.Argument(help="A dataset of `tracediff ingest`."),
    output_format: Format = typer.Option(Format.TEXT, "--format", help="How to print the result."),
) -> None:
    """Group the traces of a dataset by the kernels each module runs, and name the odd ones out.

    Example: tracediff fleet fleet
    """
    from tracediff.fleet.groups import group_traces
    from tracediff.fleet.text import as_json, as_text

    groups = group_traces(dataset)
    emit(as_json(groups) if output_format is Format.JSON else as_text(groups))
