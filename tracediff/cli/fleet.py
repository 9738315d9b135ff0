"""`tracediff fleet`: which traces of a dataset run other kernels than the rest."""

from pathlib import Path
from typing import Annotated

import typer

from tracediff.cli import app
from tracediff.cli.options import FORMAT_OPTION, TextJson, emit


@app.command()
def fleet(
    dataset: Path = typer.Argument(help="A dataset of `tracediff ingest`."),
    output_format: Annotated[TextJson, FORMAT_OPTION] = TextJson.TEXT,
) -> None:
    """Group the traces of a dataset by the kernels each module runs, and name the odd ones out.

    Example: tracediff fleet fleet
    """
    from tracediff.fleet.groups import group_traces
    from tracediff.report.fleet.text import as_json, as_text

    groups = group_traces(dataset)
    emit(as_json(groups) if output_format is TextJson.JSON else as_text(groups))
