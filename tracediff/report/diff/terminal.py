"""The terminal table: readable at 80 columns, in colour where the terminal has it."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracediff.diff.fold import fold, layer_span
from tracediff.diff.result import Row, Side, TraceDiff, Verdict
from tracediff.diff.summary import summarise
from tracediff.kernels import describe
from tracediff.report.diff.lines import Line, hidden_in_words, lines, phases
from tracediff.report.words import coverage_words, duration, trace_words
from tracediff.text import printable, sizes_in_words

#: Below this many columns a table would break words into letters.
NARROW = 72

#: How each verdict looks.
STYLE = {
    Verdict.SAME_KERNELS: "dim",
    Verdict.SAME_ORDER: "green",
    Verdict.UNKNOWN: "yellow",
    Verdict.ORDER_CHANGED: "bold red",
}


def print_diff(diff: TraceDiff, console: Console, everything: bool = False, unfold: bool = False) -> None:
    """Print the diff.

    Args:
        diff: The result.
        console: Where to; its width is respected.
        everything: Also modules that run the same kernels in the same order of sums.
        unfold: One line per layer.
    """
    for warning in diff.warnings:
        console.print(Text(f"! {printable(warning)}", style="bold yellow"))
    for label, side in (("a", diff.a), ("b", diff.b)):
        print_side(label, side, console)
    console.print()
    for sentence in summarise(diff):
        console.print(Text(printable(sentence)))
    shown = lines(diff, everything, unfold)
    for phase, group in phases(shown).items():
        if console.width < NARROW:
            _print_stacked(phase, group, console)
        else:
            console.print(_table(phase, group, console.width))
    if not everything and (hidden := hidden_in_words(diff)):
        console.print(Text(f"{hidden} (--all shows them)", style="dim"))


def print_side(label: str, side: Side, console: Console) -> None:
    """Print what one trace is and what of it is compared."""
    console.print(Text.assemble((f"{label:3}", "bold"), printable(side.info.path)))
    console.print(Text(f"   {printable(trace_words(side.info))}", style="dim"))
    words = f"   {coverage_words(side)}; compared: {side.kernels:,}, {duration(side.duration_ns)}"
    console.print(Text(words, style="dim"))
    for note in side.notes:
        console.print(Text(f"   {printable(note)}", style="dim"))


def _print_stacked(phase: str, group: list[Line], console: Console) -> None:
    """Print what a table would hold, one fact under the other, where columns would be a few letters wide."""
    console.print(Text(f"\n{phase}", style="bold"))
    for line in group:
        layers = f" · layer{'' if line.layers.isdecimal() else 's'} {line.layers}" if line.layers else ""
        console.print(Text.assemble((line.module, "bold"), layers))
        split = f", split-K {line.split_k}" if line.split_k else ""
        console.print(Text(f"  {line.verdict}{split}", style=STYLE[line.verdict]))
        for words, style in ((line.reason, ""), (line.bits, "bold"), (line.change, ""), (_cost(line), "dim")):
            if words:
                console.print(Padding(Text(words, style=style), (0, 0, 0, 2)))


def _table(phase: str, group: list[Line], width: int) -> Table:
    table = Table(box=SIMPLE_HEAD, title=phase, title_justify="left", title_style="bold", pad_edge=False, expand=True)
    table.add_column("layers", no_wrap=True, max_width=10)
    table.add_column("module", overflow="fold", max_width=max(12, width // 5))
    table.add_column("what changed", overflow="fold", ratio=1)
    table.add_column("split-K", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for line in group:
        told = Text(line.reason, style=STYLE[line.verdict])
        for words, style in ((line.bits, "bold"), (line.change, ""), (_cost(line), "dim")):
            if words:
                told.append("\n")
                told.append(words, style=style)
        verdict = Text(line.verdict, style=STYLE[line.verdict])
        table.add_row(Text(line.layers), Text(line.module), told, Text(line.split_k), verdict)
    return table


def _cost(line: Line) -> str:
    return line.time + (f", split-K reduces {line.splitk_reduce}" if line.splitk_reduce else "")


def print_show(side: Side, rows: tuple[Row, ...], console: Console, unfold: bool = False) -> None:
    """Print one trace's kernel table: per (phase, module) its kernels in launch order."""
    print_side("", side, console)
    folded = [each for row in rows for each in fold([row])] if unfold else list(fold(rows))
    grouped: dict[str | None, list[Table]] = {}
    for each in folded:
        row = each.row
        tables = grouped.setdefault(row.phase, [])
        if not tables:
            title = "(outside every range)" if row.phase is None else printable(row.phase)
            tables.append(_show_table(title, console.width))
        for position, kernel in enumerate(row.a):
            split = "" if kernel.split_k is None else str(kernel.split_k)
            tables[0].add_row(
                Text(layer_span(each.layers) if position == 0 else ""),
                Text(printable(each.module) if position == 0 else ""),
                Text(printable(describe(kernel.parsed))),
                Text(split),
                Text(sizes_in_words(kernel.grid)),
                Text(duration(kernel.duration_ns)),
            )
    for tables in grouped.values():
        console.print(tables[0])


def _show_table(title: str, width: int) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, expand=True)
    table.add_column("layers", no_wrap=True, max_width=10)
    table.add_column("module", overflow="fold", max_width=max(12, width // 5 + 2))
    table.add_column("kernel", overflow="fold", ratio=1)
    table.add_column("split-K", no_wrap=True)
    table.add_column("grid", overflow="fold", max_width=12)
    table.add_column("time", no_wrap=True, justify="right")
    return table
