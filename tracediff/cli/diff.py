"""`tracediff diff`: two traces, compared."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tracediff.cli import app
from tracediff.cli.application import GATE_FAILED
from tracediff.cli.options import Format, emit, open_in_browser, say, stdout_console

if TYPE_CHECKING:
    from tracediff.diff import TraceDiff


@app.command()
def diff(
    a: Path = typer.Argument(
        metavar="A", help="The reference: an nsys export (SQLite, Parquet folder) or report, or PyTorch profiler JSON."
    ),
    b: Path = typer.Argument(metavar="B", help="The trace to compare with it."),
    output_format: Format = typer.Option(Format.TABLE, "--format", help="How to print the result."),
    html: Path | None = typer.Option(None, help="Also write the HTML report to this file."),
    open_report: bool = typer.Option(False, "--open", help="Open the HTML report in the browser."),
    save: Path | None = typer.Option(None, help="Also store kernels and diff as tables in this SQLite file."),
    phase: list[str] = typer.Option([], help="Compare only this phase (prefill, decode[0], …); may be repeated."),
    everything: bool = typer.Option(False, "--all", help="Show modules with the same kernels and order of sums too."),
    unfold: bool = typer.Option(False, help="One line per layer, repeated blocks too."),
    exit_code: bool = typer.Option(False, "--exit-code", help="Exit 1 when any kernel or launch differs."),
    fail_on: list[str] = typer.Option(
        [], help="Exit 1 when a module has one of these verdicts: order-changed,unknown."
    ),
    force: bool = typer.Option(False, help="Replace files that exist."),
) -> None:
    """Compare two traces: kernels, tiles, split-K and reduction order, module by module.

    Example: tracediff diff b1.sqlite b2.sqlite --html report.html --open
    """
    from tracediff.cli.load import load_trace
    from tracediff.diff import diff_tables
    from tracediff.diff.evidence import attach_evidence
    from tracediff.diff.gate import verdicts_named
    from tracediff.files import refuse_to_overwrite, write_text

    gates = verdicts_named(fail_on)
    report = html or (Path(f"{a.stem}-{b.stem}.html") if open_report else None)
    for path in (report, save):
        if path is not None:
            refuse_to_overwrite(path, force)
    result = attach_evidence(diff_tables(load_trace(a), load_trace(b), phase))
    if report is not None:
        from tracediff.report.html import render_html

        write_text(report, render_html(result), force)
        say(f"Wrote {report}")
    if save is not None:
        from tracediff.report.sqlite_store import save_diff

        save_diff(result, save, force)
        say(f"Wrote {save}")
    if output_format is Format.TABLE:
        from tracediff.report.terminal import print_diff

        print_diff(result, stdout_console(), everything, unfold)
        if report is None:
            say(f"Next: tracediff diff {a} {b} --html report.html --open")
    else:
        emit(_as_text(result, output_format, everything, unfold))
    if open_report and report is not None:
        open_in_browser(report)
    failed = [verdict for verdict in gates if result.verdicts[verdict]]
    if failed:
        say(f"Failed: {', '.join(f'{result.verdicts[verdict]} × {verdict}' for verdict in failed)}")
    if failed or (exit_code and result.differs):
        raise typer.Exit(GATE_FAILED)


def _as_text(result: "TraceDiff", output_format: Format, everything: bool, unfold: bool) -> str:
    if output_format is Format.JSON:
        from tracediff.report.json_report import diff_to_json

        return diff_to_json(result)
    if output_format is Format.CSV:
        from tracediff.report.csv_report import diff_to_csv

        return diff_to_csv(result)
    from tracediff.report.markdown import diff_to_markdown

    return diff_to_markdown(result, everything, unfold)
