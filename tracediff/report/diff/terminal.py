"""The terminal's screen: the answer first, then each phase's modules, worst first; readable at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracediff.diff.answer import Answer, Judgement, answer
from tracediff.diff.fold import FoldedRow, fold, layer_span
from tracediff.diff.overview import Section
from tracediff.diff.result import Kernel, Row, Side, TraceDiff
from tracediff.diff.standing import Standing
from tracediff.diff.words import listing
from tracediff.kernels import describe
from tracediff.report.diff.answer_words import answer_line, facts, section_words
from tracediff.report.diff.lines import Fold, Line, folds, open_lines
from tracediff.report.diff.subject import side_words, subject_words
from tracediff.report.diff.view import View, sections
from tracediff.report.words import count, coverage_words, duration, trace_words
from tracediff.text import printable, sizes_in_words

#: Below this many columns a table would break words into letters.
NARROW = 72
_LABEL = 11
_WIDE = 140
_MOST_LINES = 12
#: Roles of kernels that sum nothing.
_PLAIN_ROLES = ("elementwise", "copy")
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
    for section in sections(diff, found, view):
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


def print_hanging(text: Text, console: Console) -> None:
    """Print a sentence, the lines after its first indented."""
    for number, line in enumerate(text.wrap(console, max(20, console.width - 2))):
        console.print(Text.assemble("  " if number else "", line))


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
    grid.add_column(width=_LABEL, style="dim")
    grid.add_column()
    grid.add_row(label, text)
    console.print(grid)


# -- the modules of a phase -------------------------------------------------------------------------------------------


def _print_section(section: Section, console: Console, view: View) -> None:
    name, numbers = section_words(section)
    unchanged = all(group.standing is Standing.SAME for group in section.groups) and not view.everything
    heading = Text.assemble(
        (name.upper(), "bold"), (f"   {numbers}", "dim"), ("   unchanged" if unchanged else "", "green")
    )
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
        cells = [Text(line.glyph, style=style), Text(line.modules), Text(line.where), Text(line.change)]
        cells += [Text(line.split_k)] if split_k else []
        cells.append(Text(line.bits, style=style))
        cells += [Text(_microseconds(line))] if timed else []
        table.add_row(*cells)
    return table


def _microseconds(line: Line) -> str:
    return " → ".join(f"{value / 1000:,.{1 if value < _THREE_DIGITS_NS else 0}f}" for value in line.time_ns)


def _print_stacked(lines: Sequence[Line], console: Console, view: View) -> None:
    """Print what a table would hold, one fact under the other, where columns would be a few letters wide."""
    for line in lines:
        style = STANDING_STYLE[line.standing]
        where = f"  {line.where}" if line.where else ""
        console.print(Text.assemble((f"{line.glyph} ", style), (line.modules, "bold"), (where, "dim")))
        split = f"split-K {line.split_k}" if line.split_k else ""
        for words, of in ((line.bits, style), (line.change, ""), (split, "")):
            if words:
                console.print(Padding(Text(words, style=of), (0, 0, 0, 2)))
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
    text = Text.assemble(("=  ", "green"), (line.text, "green"), ("   ", ""), names)
    # The count is the fact; the names are cut where there is no room for all.
    text.truncate(console.width, overflow="ellipsis")
    console.print(text)


# -- one trace --------------------------------------------------------------------------------------------------------


def print_side(label: str, side: Side, console: Console) -> None:
    """Print what one trace is and what of it is shown."""
    console.print(Text.assemble((f"{label:3}", "bold"), printable(side.info.path)))
    console.print(Text(f"   {printable(trace_words(side.info))}", style="dim"))
    words = f"   {coverage_words(side)}; shown: {side.kernels:,}, {duration(side.duration_ns)}"
    console.print(Text(words, style="dim"))
    for note in side.notes:
        console.print(Text(f"   {printable(note)}", style="dim"))


def print_show(side: Side, rows: tuple[Row, ...], console: Console, unfold: bool = False) -> None:
    """Print one trace's kernel table: per (phase, module) its kernels in launch order.

    Unless `unfold`, layers that ran alike share their lines, so do neighbouring elementwise and copy kernels, and of a
    phase that ran what an earlier one ran only the name is printed.
    """
    print_side("", side, console)
    by_phase: dict[str | None, list[Row]] = {}
    for row in rows:
        by_phase.setdefault(row.phase, []).append(row)
    printed: dict[object, str] = {}
    hidden = False
    for phase, members in by_phase.items():
        folded = [each for row in members for each in fold([row])] if unfold else list(fold(members))
        name = "outside every range" if phase is None else printable(phase)
        ran = tuple(
            (each.module, each.layers, tuple((kernel.parsed.name, kernel.split_k) for kernel in each.row.a))
            for each in folded
        )
        if not unfold and ran in printed:
            time = duration(sum(row.duration_ns[0] for row in members))
            print_hanging(Text(f"\n{name.upper()}   the same kernels as {printed[ran]}, {time}", style="bold"), console)
            hidden = True
            continue
        printed[ran] = name
        table = _show_table(console.width)
        for each in folded:
            hidden = _show_module(table, each, unfold) or hidden
        console.print(Text(f"\n{name.upper()}", style="bold"))
        console.print(table)
    if hidden:
        console.print(Text("\nOne line per kernel and layer: --unfold, or --format csv", style="dim"))


def _show_module(table: Table, each: FoldedRow, unfold: bool) -> bool:
    """Add a module's lines and return whether a line stands for several kernels."""
    summed = False
    lines = [[kernel] for kernel in each.row.a] if unfold else _runs_of_plain_kernels(each.row.a)
    for position, kernels in enumerate(lines):
        first = kernels[0]
        words, split, grid = describe(first.parsed), first.split_k, sizes_in_words(first.grid)
        if len(kernels) > 1:
            roles = listing(sorted({str(kernel.parsed.role) for kernel in kernels}))
            words, grid, summed = f"{len(kernels)} kernels: {roles}", "", True
        table.add_row(
            Text(layer_span(each.layers) if position == 0 else ""),
            Text(printable(each.module) if position == 0 else ""),
            Text(printable(words)),
            Text("" if split is None else str(split)),
            Text(grid),
            Text(duration(sum(kernel.duration_ns for kernel in kernels))),
        )
    return summed


def _runs_of_plain_kernels(kernels: Sequence[Kernel]) -> list[list[Kernel]]:
    """Return the kernels, neighbours that sum nothing together."""
    return [
        part
        for plain, run in groupby(kernels, key=lambda kernel: kernel.parsed.role in _PLAIN_ROLES)
        for part in ([list(run)] if plain else [[kernel] for kernel in run])
    ]


def _show_table(width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("layers", no_wrap=True, max_width=10)
    table.add_column("module", overflow="fold", max_width=max(12, width // 5 + 2))
    table.add_column("kernel", overflow="fold", ratio=1)
    table.add_column("split-K", no_wrap=True)
    table.add_column("grid", overflow="fold", max_width=12)
    table.add_column("time", no_wrap=True, justify="right")
    return table
