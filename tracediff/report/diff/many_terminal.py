"""Many traces on the terminal: an answer per trace, then one table per phase with a column per trace."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.diff.answer import answer
from tracediff.diff.many import ManyDiff
from tracediff.diff.many_overview import ManyGroup, ManySection, many_overview
from tracediff.diff.places import module_name, phase_name
from tracediff.diff.result import Side, Verdict
from tracediff.report.diff.answer_words import answer_line
from tracediff.report.diff.hanging import print_hanging
from tracediff.report.diff.lines import Sort
from tracediff.report.diff.many_cells import Cell, cells
from tracediff.report.diff.names import tile_name
from tracediff.report.diff.subject import subject_words
from tracediff.report.diff.terminal import JUDGEMENT_STYLE, STANDING_STYLE
from tracediff.report.diff.view import View
from tracediff.report.words import duration
from tracediff.text import count, printable

#: Room that the modules take, and that a trace's column needs to be read.
_MODULES_WIDTH = 30
_TRACE_WIDTH = 24
#: What is counted of each trace.
_TOTALS = ("", "kernels", "split-K reductions", "time", *(verdict.replace("-", " ") for verdict in Verdict))
_UNLIMITED = 1000


def print_many(many: ManyDiff, console: Console, view: View | None = None) -> None:
    """Print an answer per trace, then the kinds of modules whose bits may differ in some trace, phase by phase.

    Args:
        many: The result.
        console: Where to.
        view: What to show; the default is one screen.
    """
    view = view or View()
    _print_traces(many, console)
    _print_answers(many, console)
    _print_totals(many, console)
    rows = many.rows if view.modules is None else view.modules.rows(many.rows)
    if view.modules is not None:
        console.print(Text(f"\nshown: {printable(view.modules.words(many.rows))}", style="dim"))
    hidden = 0
    for section in many_overview(rows, view.unfold):
        shown = [group for group in _sorted(section, view.sort) if view.everything or group.standing.open]
        hidden += sum(len(group.reference) for group in section.groups) - sum(len(group.reference) for group in shown)
        if shown:
            _print_groups(phase_name(section.name), shown, many, console, view)
    if hidden:
        words = f"{count(hidden, 'module')} equal in every trace, or predicted to be (--all)"
        console.print(Text(words, style="dim"))


def _print_traces(many: ManyDiff, console: Console) -> None:
    console.print(Text(printable(subject_words(many.diffs[0])), style="bold"))
    for number, side in enumerate(many.sides):
        batch = "" if side.info.batch is None else f"batch {side.info.batch}"
        console.print(Text.assemble((f"{number}  ", "bold"), printable(side.info.path), (f"  {batch}", "dim")))
    for number, diff in enumerate(many.diffs, start=1):
        for warning in diff.warnings:
            console.print(Text(f"! {number}: {printable(warning)}", style="bold yellow"))
    console.print()


def _print_answers(many: ManyDiff, console: Console) -> None:
    for number, diff in enumerate(many.diffs, start=1):
        found = answer(diff)
        head, rest = answer_line(found)
        words = Text.assemble((f"0 → {number}  ", "dim"), (head, JUDGEMENT_STYLE[found.judgement]), f"  {rest}")
        print_hanging(words, console)
    console.print()


def _print_totals(many: ManyDiff, console: Console) -> None:
    """Print what can be counted: a table with headings of one line or several, or where none has room, in words."""
    lines = [_counts(many, number) for number in range(len(many.sides))]
    for headings in (_TOTALS, [heading.replace(" ", "\n") for heading in _TOTALS]):
        table = _totals_table(headings, lines)
        if console.measure(table, options=console.options.update(max_width=_UNLIMITED)).maximum <= console.width:
            console.print(table)
            return
    console.print(Text("against trace 0", style="bold"))
    for number, *counts in lines:
        words = Text(", ".join(f"{heading} {each}" for heading, each in zip(_TOTALS[1:], counts, strict=False)))
        print_hanging(Text.assemble((f"{number}  ", "dim"), words), console)


def _counts(many: ManyDiff, number: int) -> list[str]:
    """Return what is counted of a trace; verdicts are against trace 0, which has none."""
    side = many.sides[number]
    verdicts = [str(many.diffs[number - 1].verdicts[verdict]) for verdict in Verdict] if number else []
    return [str(number), f"{side.kernels:,}", f"{side.splitk_reduce:,}", duration(side.duration_ns), *verdicts]


def _totals_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, title="against trace 0", title_justify="left", title_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def _sorted(section: ManySection, sort: Sort) -> Sequence[ManyGroup]:
    if sort is Sort.SEVERITY:
        return section.worst_first
    if sort is Sort.TIME:
        return sorted(section.groups, key=lambda group: -sum(row.duration_ns[0] for row in group.reference))
    return section.groups


def _print_groups(title: str, groups: Sequence[ManyGroup], many: ManyDiff, console: Console, view: View) -> None:
    """Print a table, or where a column per trace has no room, the traces under each kind of module."""
    kernel_name = attrgetter("name") if view.kernels else tile_name
    if console.width < _MODULES_WIDTH + _TRACE_WIDTH * len(many.sides):
        console.print(Text(f"\n{title}", style="bold"))
        for group in groups:
            console.print(Text(_name(group), style="bold"))
            for number, cell in enumerate(cells(group, kernel_name)):
                words = Text(", ").join(_lines(cell))
                print_hanging(Text.assemble((f"  {number}  ", "dim"), words), console)
        return
    table = _table(title, many.sides)
    for group in groups:
        table.add_row(_name(group), *(Text("\n").join(_lines(cell)) for cell in cells(group, kernel_name)))
    console.print(table)


def _table(title: str, sides: Sequence[Side]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    # A fixed width: rich may shrink any other below the least it was given, and cuts what then reaches over the edge.
    table.add_column("module", overflow="fold", width=_MODULES_WIDTH - 2)
    for number, side in enumerate(sides):
        batch = "" if side.info.batch is None else f" (batch {side.info.batch})"
        table.add_column(f"{number}{batch}", overflow="fold")
    return table


def _name(group: ManyGroup) -> str:
    modules = len(group.reference)
    return f"{module_name(group.name)}{f' ×{modules:,}' if modules > 1 else ''}"


def _lines(cell: Cell) -> list[Text]:
    heading = (
        []
        if not cell.heading
        else [Text(cell.heading, style=STANDING_STYLE[cell.standing] if cell.standing else "dim")]
    )
    return [*heading, *(Text(line) for line in cell.lines)]
