"""`tracediff diff`: two traces, compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli import app
from tracediff.cli.application import GATE_FAILED
from tracediff.cli.load import Device, Iteration, LayerPattern, PhasePattern, RangePattern, Rank
from tracediff.cli.options import FORMAT_OPTION, Format, command_line, emit, open_in_browser, say, stdout_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracediff.diff import ManyDiff, TraceDiff, Verdict


@app.command()
def diff(
    a: Path = typer.Argument(
        metavar="A",
        readable=False,
        help="The reference: an nsys export (SQLite, Parquet folder) or report, or PyTorch profiler JSON.",
    ),
    others: list[Path] = typer.Argument(
        metavar="B…", readable=False, help="The trace to compare with it; several stand side by side."
    ),
    output_format: Annotated[Format, FORMAT_OPTION] = Format.TABLE,
    html: Path | None = typer.Option(None, help="Also write the HTML report to this file."),
    open_report: bool = typer.Option(False, "--open", help="Open the HTML report in the browser."),
    save: Path | None = typer.Option(None, help="Also store kernels and diff as tables in this SQLite file."),
    phase: list[str] = typer.Option([], help="Compare only this phase (prefill, decode[0], …); may be repeated."),
    rank: Rank = None,
    device: Device = None,
    iteration: Iteration = None,
    range_pattern: RangePattern = None,
    phase_pattern: PhasePattern = None,
    layer_pattern: LayerPattern = None,
    everything: bool = typer.Option(False, "--all", help="Show modules with the same kernels and order of sums too."),
    unfold: bool = typer.Option(False, help="One line per layer, repeated blocks too."),
    exit_code: bool = typer.Option(False, "--exit-code", help="Exit 1 when any kernel or launch differs."),
    fail_on: list[str] = typer.Option(
        [], help="Exit 1 when a module has one of these verdicts: order-changed,unknown."
    ),
    force: bool = typer.Option(False, help="Replace files that exist."),
) -> None:
    """Compare two traces (or more with the first): kernels, tiles, split-K and reduction order, module by module.

    Example: tracediff diff b1.sqlite b2.sqlite --html report.html --open
    """
    from functools import partial

    from tracediff.cli.load import load_trace
    from tracediff.diff import diff_many, diff_tables
    from tracediff.diff.evidence import attach_evidence
    from tracediff.diff.gate import verdicts_named
    from tracediff.errors import TracediffError
    from tracediff.files import refuse_to_overwrite

    load = partial(
        load_trace,
        rank=rank,
        device=device,
        iteration=iteration,
        range_pattern=range_pattern,
        phase_pattern=phase_pattern,
        layer_pattern=layer_pattern,
    )
    gates = verdicts_named(fail_on)
    if len(others) > 1:
        if html or open_report or save:
            raise TracediffError("--html, --open and --save show two traces", "name two, or leave these options out")
        many = diff_many([load(path) for path in (a, *others)], phase)
        _print_many(many, output_format, everything, unfold)
        _exit_by_gates(many.diffs, gates, exit_code)
        return
    b = others[0]
    report = html or (Path(f"{a.stem}-{b.stem}.html") if open_report else None)
    if report is not None and report == save:
        raise TracediffError(f"{report} cannot hold both the report and the tables", "name two files")
    for path in (report, save):
        if path is not None:
            refuse_to_overwrite(path, force, inputs=(a, b))
    result = attach_evidence(diff_tables(load(a), load(b), phase))
    _write_files(result, report, save, force)
    if output_format is Format.TABLE:
        from tracediff.report.diff.terminal import print_diff

        print_diff(result, stdout_console(), everything, unfold)
        if report is None:
            say(f"Next: {command_line('tracediff', 'diff', a, b, '--html', 'report.html', '--open')}")
    else:
        if output_format is not Format.MARKDOWN:
            for warning in result.warnings:
                say(f"Warning: {warning}")
        emit(_as_text(result, output_format, everything, unfold))
    if open_report and report is not None:
        open_in_browser(report)
    _exit_by_gates([result], gates, exit_code)


def _write_files(result: "TraceDiff", report: Path | None, save: Path | None, force: bool) -> None:
    if report is not None:
        from tracediff.files import write_text
        from tracediff.report.diff.html import render_html

        write_text(report, render_html(result), force)
        say(f"Wrote {report}")
    if save is not None:
        from tracediff.report.diff.sqlite import save_diff

        save_diff(result, save, force)
        say(f"Wrote {save}")


def _exit_by_gates(diffs: "Sequence[TraceDiff]", gates: "Sequence[Verdict]", exit_code: bool) -> None:
    counts = {verdict: sum(diff.verdicts[verdict] for diff in diffs) for verdict in gates}
    failed = [f"{count} × {verdict}" for verdict, count in counts.items() if count]
    if failed:
        say(f"Failed: {', '.join(failed)}")
    if failed or (exit_code and any(diff.differs for diff in diffs)):
        raise typer.Exit(GATE_FAILED)


def _print_many(many: "ManyDiff", output_format: Format, everything: bool, unfold: bool) -> None:
    from tracediff.errors import TracediffError
    from tracediff.report.diff.many import many_to_json, print_many

    if output_format is Format.TABLE:
        print_many(many, stdout_console(), everything, unfold)
    elif output_format is Format.JSON:
        emit(many_to_json(many))
    else:
        raise TracediffError(f"--format {output_format} shows two traces", "choose table or json")


def _as_text(result: "TraceDiff", output_format: Format, everything: bool, unfold: bool) -> str:
    if output_format is Format.JSON:
        from tracediff.report.diff.json import diff_to_json

        return diff_to_json(result)
    if output_format is Format.CSV:
        from tracediff.report.diff.csv import diff_to_csv

        return diff_to_csv(result)
    from tracediff.report.diff.markdown import diff_to_markdown

    return diff_to_markdown(result, everything, unfold)
