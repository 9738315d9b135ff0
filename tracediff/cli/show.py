"""`tracediff show`: the kernel table of one trace."""

from pathlib import Path
from typing import Any

import click

from tracediff.cli.application import Argument, Command
from tracediff.cli.load import part_of_a_trace
from tracediff.cli.options import PATH, TableJsonCsv, emit, format_option, say, stdout_console


@click.command(cls=Command)
@click.argument(
    "trace",
    cls=Argument,
    type=PATH,
    help="A trace: nsys export (SQLite, Parquet folder) or report, PyTorch profiler JSON.",
)
@format_option(TableJsonCsv)
@click.option("--phase", multiple=True, help="Show only this phase; may be repeated.")
@part_of_a_trace
@click.option("--unfold", is_flag=True, help="One line per layer, repeated blocks too.")
@click.option("--save", type=PATH, help="Also store the kernel table in this SQLite file.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--explain-coverage", "coverage", is_flag=True, help="Print what became of every kernel, and why.")
def show(
    trace: Path,
    output_format: TableJsonCsv,
    phase: tuple[str, ...],
    unfold: bool,
    save: Path | None,
    force: bool,
    coverage: bool,
    **part: Any,
) -> None:
    """Show which kernels ran in each module of one trace, in launch order.

    Example: tracediff show b1.sqlite --phase prefill
    """
    from tracediff import api
    from tracediff.diff.show import show_table

    table = api.open(
        trace,
        **part,
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
        say(f"Wrote {save}")
    if output_format is TableJsonCsv.JSON:
        from tracediff.report.diff.json import show_to_json

        emit(show_to_json(table, side, rows))
    elif output_format is TableJsonCsv.CSV:
        from tracediff.report.diff.csv import show_to_csv

        emit(show_to_csv(rows))
    else:
        from tracediff.report.diff.terminal import print_show

        print_show(side, rows, stdout_console(), unfold)
