"""`tracediff diff`: two traces compared, or several with the first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.application import GATE_FAILED, ManyValues
from tracediff.cli.load import Device, Iteration, LayerPattern, PhasePattern, RangePattern, Rank
from tracediff.cli.options import (
    FORMAT_OPTION,
    Format,
    Order,
    command_line,
    console_for,
    emit,
    open_in_browser,
    regex,
    say,
    say_written,
    stdout_is_free,
)
from tracediff.cli.short_lived import start_quickly

if TYPE_CHECKING:
    from tracediff.diff import ManyDiff
    from tracediff.report.diff.view import View

app = typer.Typer(add_completion=False)


class _Diff(ManyValues):
    many = ("--between",)


@app.command(cls=_Diff)
def diff(
    context: typer.Context,
    a: Path = typer.Argument(
        metavar="A",
        readable=False,
        help="The reference: an nsys export (SQLite, Parquet folder) or report, or PyTorch profiler JSON.",
    ),
    others: list[Path] | None = typer.Argument(
        None, metavar="B…", readable=False, help="The trace to compare with it; several are each compared with it."
    ),
    between: list[str] = typer.Option(
        [], help="Compare the steps of two shapes (batch x tokens) within A, or of A and of B: `--between 1x1 8x1`."
    ),
    output_format: Annotated[Format, FORMAT_OPTION] = Format.TABLE,
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the result to this file, not to stdout."),
    html: Path | None = typer.Option(None, help="Also write the HTML report to this file."),
    open_report: bool = typer.Option(False, "--open", help="Open the HTML report in the browser."),
    save: Path | None = typer.Option(None, help="Also store kernels and diff as tables in this SQLite file."),
    summary: bool = typer.Option(False, "--summary", help="Print the answer alone, in one line."),
    phase: list[str] = typer.Option([], help="Compare only this phase (prefill, decode[0], …); may be repeated."),
    module: str | None = typer.Option(None, help="Show only modules whose path matches this regex."),
    sort: Annotated[Order, typer.Option(help="Order of the modules within a phase.")] = Order.SEVERITY,
    rank: Rank = None,
    device: Device = None,
    iteration: Iteration = None,
    range_pattern: RangePattern = None,
    phase_pattern: PhasePattern = None,
    layer_pattern: LayerPattern = None,
    everything: bool = typer.Option(False, "--all", help="Give modules whose bits are equal their own lines too."),
    unfold: bool = typer.Option(False, "--unfold", help="One line per layer, repeated blocks too."),
    kernels: bool = typer.Option(False, "--kernels", help="Print full kernel names."),
    no_color: bool = typer.Option(False, "--no-color", help="No colours, as with NO_COLOR set."),
    exit_code: bool = typer.Option(
        False, "--exit-code", help="Exit 1 when any kernel or launch differs or was not compared, whatever the bits."
    ),
    fail_on: list[str] = typer.Option(
        [],
        help="Exit 1 when a module has one of these verdicts, as predicted from the traces: order-changed,unknown; "
        "or `bits`: when logits or a module were measured to differ in bits.",
    ),
    force: bool = typer.Option(False, "--force", help="Replace files that exist."),
) -> None:
    """Compare two traces (or more with the first): what differs, whether it can change bits, whether it did.

    Example: tracediff diff b1.sqlite b2.sqlite --html report.html --open
    """
    from tracediff.findings.map_head import is_map

    if is_map(a):
        from tracediff.cli.map import diff_maps

        return diff_maps(context, a, others or [], output_format, fail_on)
    start_quickly()
    from tracediff import api
    from tracediff.diff import diff_tables, side_by_side
    from tracediff.diff.evidence import attach_evidence
    from tracediff.diff.gate import failures, gates_named
    from tracediff.report.diff.lines import Sort
    from tracediff.report.diff.view import View

    shapes = _two_shapes(between, others)
    compared = others or [a]
    gates = gates_named(fail_on)
    view = View(
        everything=everything,
        unfold=unfold,
        kernels=kernels,
        sort=Sort(sort.value),
        modules=None if module is None else regex(module, "--module"),
    )
    report = html or (Path(f"{a.stem}-{compared[0].stem}.html") if open_report else None)
    written = [path for path in (report, save, output) if path is not None]
    _refuse_one_file_twice(written)
    if written:
        from tracediff.files import refuse_to_overwrite

        for path in written:
            refuse_to_overwrite(path, force, inputs=(a, *compared))

    tables = api.open_all(
        [a, *(others or [])],
        rank=rank,
        device=device,
        iteration=iteration,
        range_pattern=range_pattern,
        phase_pattern=phase_pattern,
        layer_pattern=layer_pattern,
        say=say,
    )
    reference = next(tables)
    if shapes is not None:
        from tracediff.diff.pair_steps import between_traces

        many = side_by_side([diff_tables(*between_traces(reference, next(tables, reference), shapes), phase)])
    else:
        many = side_by_side([attach_evidence(diff_tables(reference, table, phase)) for table in tables])
    _write_files(many, (a, *compared), report, save, force)
    if not stdout_is_free(report, save):
        pass
    elif summary:
        from tracediff.report.diff.answer_words import summary_line

        emit("".join(f"{summary_line(each)}\n" for each in many.diffs))
    else:
        _print(many, output_format, view, output, no_color, force)
        if output_format is Format.TABLE and len(compared) == 1 and report is None and output is None:
            traces: list[str | Path] = [a, *(others or []), *(["--between", *between] if between else [])]
            say(f"Next: {command_line('tracediff', 'diff', *traces, '--html', 'report.html', '--open')}")
    if open_report and report is not None:
        open_in_browser(report)
    failed = failures(many.diffs, gates, exit_code)
    if failed:
        say(f"Failed: {', '.join(failed)}")
        raise typer.Exit(GATE_FAILED)


def _two_shapes(between: list[str], others: list[Path] | None) -> tuple[str, str] | None:
    """Return the shapes to compare, within one trace or of two; None where two traces are compared as a whole."""
    from tracediff.errors import TracediffError

    if not between and not others:
        raise TracediffError(
            "one trace is not compared with another", "name two traces, or --between two shapes in one"
        )
    if not between:
        return None
    if others and len(others) > 1:
        raise TracediffError("--between compares steps within one trace or of two", "name one trace or two")
    if len(between) != 2:
        raise TracediffError(f"--between takes two shapes, not {len(between)}", "give --between 1x1 8x1")
    return between[0], between[1]


def _refuse_one_file_twice(paths: list[Path]) -> None:
    from tracediff.errors import TracediffError
    from tracediff.files import is_stdout, resolved

    if len({"-" if is_stdout(path) else resolved(path) for path in paths}) < len(paths):
        raise TracediffError(f"{paths[0]} cannot hold two outputs", "name another file for each")


def _write_files(
    many: "ManyDiff", traces: tuple[Path, ...], report: Path | None, save: Path | None, force: bool
) -> None:
    if report is not None:
        from tracediff.files import write_text
        from tracediff.findings.captured_flips import flips_beside
        from tracediff.report.diff.html import render_html
        from tracediff.report.diff.html.many import render_many

        only = len(many.diffs) == 1
        page = render_html(many.diffs[0], flips_beside(*traces)) if only else render_many(many)
        write_text(report, page, force)
        say_written(report)
    if save is not None:
        from tracediff.report.diff.sqlite import save_diffs

        save_diffs(many.diffs, save, force)
        say_written(save)


def _print(
    many: "ManyDiff", output_format: Format, view: "View", output: Path | None, no_color: bool, force: bool
) -> None:
    from tracediff.report.diff import many_renderer, renderer

    only = many.diffs[0] if len(many.diffs) == 1 else None
    if output_format is Format.TABLE:
        with console_for(output, no_color, force) as console:
            if only is not None:
                from tracediff.report.diff.terminal import print_diff

                print_diff(only, console, view)
            else:
                from tracediff.report.diff.many_terminal import print_many

                print_many(many, console, view)
        return
    if output_format is not Format.MARKDOWN:
        for each in many.diffs:
            for warning in each.warnings:
                say(f"Warning: {warning}")
    text = renderer(output_format)(only, view) if only is not None else many_renderer(output_format)(many, view)
    if output is None:
        emit(text)
    else:
        from tracediff.files import write_text

        write_text(output, text, force)
        say_written(output)
