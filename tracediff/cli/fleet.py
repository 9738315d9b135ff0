"""`tracediff fleet`: which traces of a dataset run other kernels than the rest."""

from pathlib import Path

import click

from tracediff.cli.application import Argument, Command
from tracediff.cli.options import PATH, TextJson, emit, format_option


@click.command(cls=Command)
@click.argument("dataset", cls=Argument, type=PATH, help="A dataset that `tracediff ingest` wrote.")
@format_option(TextJson)
def fleet(
    dataset: Path,
    output_format: TextJson,
) -> None:
    """Group the traces of a dataset by the kernels that each module runs, and name the odd ones out.

    Example: tracediff fleet fleet
    """
    from tracediff.fleet.groups import group_traces
    from tracediff.report.fleet import RENDERERS

    emit(RENDERERS[output_format](group_traces(dataset)))
