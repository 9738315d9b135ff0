"""`tracediff show`: the kernel table of one trace."""

from pathlib import Path
from typing import Annotated

import typer

from tracediff.cli.load import Device, Iteration, LayerPattern, PhasePattern, RangePattern, Rank
from tracediff.cli.options import (
    FORMAT_OPTION,
    TableJsonCsv,
    emit,
    refuse_ignored_options,
    refuse_lost_format,
    say,
    say_written,
    stdout_console,
    stdout_is_free,
)
from tracediff.cli.short_lived import start_quickly

app = typer.Typer(add_completion=False)

#: What may be asked where only the coverage is told.
_OF_COVERAGE = (
    "trace",
    "coverage",
    "rank",
    "device",
    "iteration",
    "range_pattern",
    "phase_pattern",
    "layer_pattern",
)


@app.command()
def show(
    context: typer.Context,
    trace: Path = typer.Argument(
        readable=False, help="A trace: nsys export (SQLite, Parquet folder) or report, PyTorch profiler JSON."
    ),
    output_format: Annotated[TableJsonCsv, FORMAT_OPTION] = TableJsonCsv.TABLE,
    phase: list[str] = typer.Option([], help="Show only this phase, called as on the screen; may be repeated."),
    rank: Rank = None,
    device: Device = None,
    iteration: Iteration = None,
    range_pattern: RangePattern = None,
    phase_pattern: PhasePattern = None,
    layer_pattern: LayerPattern = None,
    unfold: bool = typer.Option(
        False, "--unfold", help="One line per kernel and layer, repeated blocks too, and all of them."
    ),
    save: Path | None = typer.Option(None, help="Also store the kernel table in this SQLite file."),
    force: bool = typer.Option(False, "--force", help="Replace a file that exists."),
    coverage: bool = typer.Option(False, "--explain-coverage", help="Print what became of every kernel, and why."),
) -> None:
    """Show which kernels ran in each module of one trace, in launch order.

    Example: tracediff show b1.sqlite --phase prefill
    """
    if coverage:
        refuse_ignored_options(context, _OF_COVERAGE, "means nothing with --explain-coverage")
    refuse_lost_format(context, save)
    start_quickly()
    from tracediff import api
    from tracediff.diff.show import show_table

    table = api.open(
        trace,
        rank=rank,
        device=device,
        iteration=iteration,
        range_pattern=range_pattern,
        phase_pattern=phase_pattern,
        layer_pattern=layer_pattern,
        say=say,
    )
    if coverage:
        from tracediff.text import printable
        from tracediff.trace.part import explain_coverage

        emit("".join(f"{printable(line)}\n" for line in explain_coverage(table)))
        return
    side, rows = show_table(table, phase)
    if save is not None:
        from tracediff.files import refuse_to_overwrite
        from tracediff.report.diff.sqlite import save_show

        refuse_to_overwrite(save, force, inputs=[trace])
        save_show(side, rows, save, force)
        say_written(save)
    if not stdout_is_free(save):
        return
    if output_format is TableJsonCsv.JSON:
        from tracediff.report.diff.json import show_to_json

        emit(show_to_json(table, side, rows))
    elif output_format is TableJsonCsv.CSV:
        from tracediff.report.diff.csv import show_to_csv

        emit(show_to_csv(rows))
    else:
        from tracediff.report.diff.show_terminal import print_show

        print_show(side, rows, stdout_console(), unfold)
