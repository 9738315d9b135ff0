"""`tracediff fleet`: which traces of a dataset run different kernels than the rest."""

from pathlib import Path
from typing import Annotated

import typer

from tracediff.cli.options import FORMAT_OPTION, TableJson, emit

app = typer.Typer(add_completion=False)


@app.command()
def fleet(
    dataset: Path = typer.Argument(help="A dataset that `tracediff ingest` wrote."),
    output_format: Annotated[TableJson, FORMAT_OPTION] = TableJson.TABLE,
) -> None:
    """Group the traces of a dataset by the kernels that each module runs, and name the odd ones out.

    Example: tracediff fleet fleet
    """
    from tracediff.fleet.groups import group_traces
    from tracediff.report.fleet import RENDERERS

    emit(RENDERERS[output_format](group_traces(dataset)))
