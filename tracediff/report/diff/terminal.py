"""The terminal's screen: the answer first, then each phase's modules, worst first; readable at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracediff.diff.answer import Answer, answer
from tracediff.diff.judgement import Judgement
from tracediff.diff.overview import Section
from tracediff.diff.result import TraceDiff
from tracediff.diff.standing import Standing
from tracediff.report.diff.answer_words import answer_line, facts, section_words
from tracediff.report.diff.hanging import NARROW, print_hanging, print_stacked
from tracediff.report.diff.lines import Fold, Line, folds, open_lines
from tracediff.report.diff.signs import legend
from tracediff.report.diff.subject import side_words, subject_words
from tracediff.report.diff.view import View, sections
from tracediff.report.words import NOT_RUN
from tracediff.text import count, printable

_LABEL = 11
_WIDE = 140
_MOST_LINES = 12
_LEAST_MODULE = 6
#: Room for `post_attention_layernorm`.
_MODULE = 24
#: From here on a time in µs has three digits before the point.
_THREE_DIGITS_NS = 100_000

STANDING_STYLE = {
    Standing.CONTRADICTED: "bold magenta",
    Standing.DIFFERS: "bold red",
    Standing.UNSTABLE: "bold yellow",
    Standing.CAN_DIFFER: "red",
    Standing.UNKNOWN: "yellow",
    Standing.MEASURED_EQUAL: "green",
    Standing.KEEPS_ORDER: "green",
    Standing.SAME: "dim",
}
JUDGEMENT_STYLE = {
    Judgement.NO_DIFFERENCE: "bold green",
    Judgement.EXPECTED: "bold cyan",
    Judgement.NOT_REPEATABLE: "bold yellow",
    Judgement.CANNOT_TELL: "bold yellow",
    Judgement.LEAK: "bold white on red",
    Judgement.SAMPLER: "bold white on red",
}


def print_diff(diff: TraceDiff, console: Console, view: View | None = None) -> None:
    """Print the diff.

    Args:
        diff: The result.
        console: Where to; its width is respected.
        view: What to show; the default is one screen.
    """
    view = view or View()
    found = answer(diff)
    for warning in diff.warnings:
        console.print(Text(f"! {printable(warning)}", style="bold yellow"))
    _print_subject(diff, console)
    console.print()
    _print_answer(found, console)
    _print_notes(diff, console)
    if view.modules is not None:
        _print_fact("shown", Text(printable(view.modules.words(diff.rows)), style="dim"), console)
    shown = sections(diff, found, view)
    if signs := legend(row for section in shown if not _is_unchanged(section, view) for row in section.rows):
        _print_fact("signs", Text(signs, style="dim"), console)
    for section in shown:
        console.print()
        _print_section(section, console, view)


# -- what was compared, and the answer --------------------------------------------------------------------------------


def _print_subject(diff: TraceDiff, console: Console) -> None:
    a, b = side_words(diff.a, diff.b)
    subject, sides = Text(printable(subject_words(diff)), style="bold"), Text(f"{a} → {b}", style="bold")
    gap = console.width - subject.cell_len - sides.cell_len
    if gap >= 2:
        console.print(Text.assemble(subject, " " * min(gap, 20), sides))
    else:
        console.print(subject)
        console.print(sides)


def _print_answer(found: Answer, console: Console) -> None:
    head, rest = answer_line(found)
    print_hanging(Text.assemble((head, JUDGEMENT_STYLE[found.judgement]), f"  {rest}"), console)
    for fact in facts(found):
        _print_fact(fact.label, Text(fact.text, style="bold yellow" if fact.grave else ""), console)


def _print_notes(diff: TraceDiff, console: Console) -> None:
    """Print what the reader of the traces had to say, once where it said the same of both."""
    sides: dict[str, list[str]] = {}
    for label, side in (("a", diff.a), ("b", diff.b)):
        for note in side.notes:
            sides.setdefault(note, []).append(label)
    for note, labels in sides.items():
        _print_fact(f"note {', '.join(labels)}", Text(printable(note), style="dim"), console)


def _print_fact(label: str, text: Text, console: Console) -> None:
    grid = Table.grid(padding=0)
    grid.add_column(width=max(_LABEL, cell_len(label) + 1), style="dim")
    grid.add_column()
    grid.add_row(label, text)
    console.print(grid)


# -- the modules of a phase -------------------------------------------------------------------------------------------


def _print_section(section: Section, console: Console, view: View) -> None:
    name, numbers = section_words(section)
    unchanged = _is_unchanged(section, view)
    heading = Text.assemble((name, "bold"), (f"   {numbers}", "dim"), ("   unchanged" if unchanged else "", "green"))
    print_hanging(heading, console)
    if unchanged:
        return
    shown = open_lines(section, view.sort, view.everything)
    limit = None if view.everything or view.unfold else _MOST_LINES
    if shown and console.width < NARROW:
        _print_stacked(shown[:limit], console, view)
    elif shown:
        console.print(lines_table(shown[:limit], console.width))
        if view.kernels:
            _print_names(shown[:limit], console)
    if limit is not None and len(shown) > limit:
        rest = sum(len(line.rows) for line in shown[limit:])
        console.print(Text(f"   and {count(rest, 'module')} more in {len(shown) - limit} kinds (--all)", style="dim"))
    if not view.everything:
        for line in folds(section):
            _print_fold(line, console)


def _is_unchanged(section: Section, view: View) -> bool:
    """Whether a section is told by its heading alone."""
    return all(group.standing is Standing.SAME for group in section.groups) and not view.everything


def lines_table(lines: Sequence[Line], width: int) -> Table:
    """Return the table of a section's lines.

    Args:
        lines: At least one.
        width: Of the terminal, in columns; at least `NARROW`.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1, no_wrap=True)
    # A fixed width: rich may shrink any other below the least it was given, and cuts what then reaches over the edge.
    longest = max(cell_len(line.modules) for line in lines)
    table.add_column("module", overflow="fold", width=max(_LEAST_MODULE, min(longest, max(_MODULE, width // 5))))
    table.add_column("where", max_width=max(9, width // 9))
    table.add_column("kernel", overflow="fold", ratio=1)
    split_k = any(line.split_k for line in lines)
    if split_k:
        table.add_column("split-K", no_wrap=True)
    # A measurement is short; a prediction comes with its reason.
    measured = all(line.measured for line in lines)
    heading = "bits on equal inputs" if measured and width >= _WIDE else "bits"
    table.add_column(heading, max_width=width // (8 if measured else 4))
    timed = width >= 100
    if timed:
        table.add_column("µs each", no_wrap=True, justify="right")
    for line in lines:
        style = STANDING_STYLE[line.standing]
        cells = [Text(line.sign, style=style), Text(line.modules), Text(line.where), Text(line.change)]
        cells += [Text(line.split_k)] if split_k else []
        cells.append(Text(line.bits, style=style))
        cells += [Text(_microseconds(line))] if timed else []
        table.add_row(*cells)
    return table


def _microseconds(line: Line) -> str:
    return " → ".join(
        NOT_RUN if value is None else f"{value / 1000:,.{1 if value < _THREE_DIGITS_NS else 0}f}"
        for value in line.time_ns
    )


def _print_stacked(lines: Sequence[Line], console: Console, view: View) -> None:
    """Print what a table would hold, one fact under the other, where columns would be a few letters wide."""
    for line in lines:
        style = STANDING_STYLE[line.standing]
        where = f"  {line.where}" if line.where else ""
        title = Text.assemble((f"{line.sign} ", style), (line.modules, "bold"), (where, "dim"))
        split = f"split-K {line.split_k}" if line.split_k else ""
        print_stacked(title, [Text(line.bits, style=style), Text(line.change), Text(split)], console)
    if view.kernels:
        _print_names(lines, console)


def _print_names(lines: Sequence[Line], console: Console) -> None:
    for line in lines:
        console.print(Text(f"  {line.modules}", style="bold"))
        for label, kernels in (("a", line.rows[0].a), ("b", line.rows[0].b)):
            for kernel in kernels:
                console.print(Padding(Text(f"{label} {printable(kernel.parsed.name)}", style="dim"), (0, 0, 0, 4)))


def _print_fold(line: Fold, console: Console) -> None:
    names = Text(line.modules, style="dim")
    text = Text.assemble((f"{line.sign}  ", "green"), (line.text, "green"), ("   ", ""), names)
    # The count is the fact; the names are cut where there is no room for all.
    text.truncate(console.width, overflow="ellipsis")
    console.print(text)
