"""`tracediff diff`: two traces compared, or several with the first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracediff.cli.application import GATE_FAILED, ManyValues
from tracediff.cli.diff_outputs import Outputs, form_of, refuse_what_does_not_fit, write_outputs
from tracediff.cli.load import Device, Iteration, LayerPattern, PhasePattern, RangePattern, Rank
from tracediff.cli.options import (
    FORMAT_OPTION,
    Format,
    Order,
    command_line,
    free_name,
    open_in_browser,
    say,
)
from tracediff.cli.short_lived import start_quickly

if TYPE_CHECKING:
    from tracediff.diff import ManyDiff
    from tracediff.diff.chosen_modules import ChosenModules

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
    phase: list[str] = typer.Option(
        [],
        help="Show only this phase, called as on the screen (decode, decode[0]); may be repeated. The answer is of "
        "the whole run.",
    ),
    module: str | None = typer.Option(
        None,
        help="Show and gate only modules whose path matches this regex, or that are called so on the screen; "
        "the answer and --save are of all.",
    ),
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

    others = others or []
    if is_map(a):
        from tracediff.cli.map import diff_maps

        return diff_maps(context, a, others, output_format, fail_on)
    start_quickly()
    from tracediff.diff.gate import failures, gates_named
    from tracediff.report.diff.lines import Sort
    from tracediff.report.diff.view import View

    shapes = _two_shapes(between, others)
    compared = others or [a]
    gates = gates_named(fail_on)
    outputs = Outputs(
        form=form_of(context, output_format, summary),
        output=output,
        report=html or (Path(f"{a.stem}-{compared[0].stem}.html") if open_report else None),
        save=save,
        no_color=no_color,
        force=force,
    )
    refuse_what_does_not_fit(context, outputs, (a, *compared))
    many = _compare(
        [a, *others],
        shapes,
        phase,
        rank=rank,
        device=device,
        iteration=iteration,
        range_pattern=range_pattern,
        phase_pattern=phase_pattern,
        layer_pattern=layer_pattern,
    )
    modules = None if module is None else _chosen(many, module)
    # First of all: a gate that cannot be answered is refused before anything is written.
    failed = failures(many.diffs, gates, exit_code, modules)
    view = View(everything=everything, unfold=unfold, kernels=kernels, sort=Sort(sort.value), modules=modules)
    write_outputs(many, outputs, view)
    if outputs.on_screen_alone and len(compared) == 1:
        _suggest_report([a, *others], between)
    if open_report and outputs.report is not None:
        open_in_browser(outputs.report)
    if failed:
        say(f"Failed: {', '.join(failed)}")
        raise typer.Exit(GATE_FAILED)


def _compare(traces: list[Path], shapes: tuple[str, str] | None, phases: list[str], **options: Any) -> "ManyDiff":
    """Read the traces and compare the first with each other one, or two shapes of steps."""
    from tracediff import api
    from tracediff.diff import diff_tables, side_by_side
    from tracediff.diff.evidence import attach_evidence

    tables = api.open_all(traces, say=say, **options)
    reference = next(tables)
    if shapes is not None:
        from tracediff.diff.pair_steps import between_traces

        return side_by_side([diff_tables(*between_traces(reference, next(tables, reference), shapes), phases)])
    return side_by_side([attach_evidence(diff_tables(reference, table, phases)) for table in tables])


def _chosen(many: "ManyDiff", module: str) -> "ChosenModules":
    from tracediff.diff.chosen_modules import choose_modules

    return choose_modules([row for diff in many.diffs for row in diff.rows], module)


def _suggest_report(traces: list[Path], between: list[str]) -> None:
    words: list[str | Path] = [*traces, *(["--between", *between] if between else [])]
    page = free_name(Path("report.html"))
    say(f"Next: {command_line('tracediff', 'diff', *words, '--html', page, '--open')}")


def _two_shapes(between: list[str], others: list[Path]) -> tuple[str, str] | None:
    """Return the shapes to compare, within one trace or of two; None where two traces are compared as a whole."""
    from tracediff.errors import TracediffError

    if not between and not others:
        raise TracediffError(
            "one trace is not compared with another", "name two traces, or --between two shapes in one"
        )
    if not between:
        return None
    if len(others) > 1:
        raise TracediffError("--between compares steps within one trace or of two", "name one trace or two")
    if len(between) != 2:
        raise TracediffError(f"--between takes two shapes, not {len(between)}", "give --between 1x1 8x1")
    return between[0], between[1]
