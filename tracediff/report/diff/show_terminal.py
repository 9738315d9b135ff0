"""One trace's kernel table on the terminal: per phase and module its kernels, in launch order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.diff.fold import FoldedRow, fold
from tracediff.diff.places import kind_names, layer_span, phase_name
from tracediff.diff.result import Kernel, Row, Side
from tracediff.diff.words import listing
from tracediff.kernels import describe
from tracediff.report.diff.hanging import print_hanging
from tracediff.report.words import coverage_words, duration, trace_words
from tracediff.text import count, printable, sizes_in_words

#: About as many lines as a person will read: blocks that differ, or steps that do, are many lines each.
_MOST_LINES = 1000
#: Roles of kernels that sum nothing.
_PLAIN_ROLES = ("elementwise", "copy")


def _print_side(label: str, side: Side, console: Console) -> None:
    """Print what one trace is and what of it is shown."""
    console.print(Text.assemble((f"{label:3}", "bold"), printable(side.info.path)))
    console.print(Text(f"   {printable(trace_words(side.info))}", style="dim"))
    words = f"   {coverage_words(side)}; shown: {side.kernels:,}, {duration(side.duration_ns)}"
    console.print(Text(words, style="dim"))
    for note in side.notes:
        console.print(Text(f"   {printable(note)}", style="dim"))


def print_show(side: Side, rows: tuple[Row, ...], console: Console, unfold: bool = False) -> None:
    """Print one trace's kernel table: per (phase, module) its kernels in launch order.

    Unless `unfold`, layers that ran alike share lines, as do neighbouring elementwise and copy kernels; a phase that
    ran what an earlier one did is only named; and after a thousand lines the rest is counted.
    """
    _print_side("", side, console)
    names = kind_names(rows)
    by_phase: dict[str | None, list[Row]] = {}
    for row in rows:
        by_phase.setdefault(row.phase, []).append(row)
    printed: dict[object, str] = {}
    room, hidden, left = _MOST_LINES, False, list[Row]()
    for phase, members in by_phase.items():
        if room <= 0 and not unfold:
            left += members
            continue
        folded = [each for row in members for each in fold([row])] if unfold else list(fold(members))
        name = phase_name(phase)
        ran = tuple(
            (names[each.row.kind], each.layers, tuple((kernel.parsed.name, kernel.split_k) for kernel in each.row.a))
            for each in folded
        )
        if not unfold and ran in printed:
            time = duration(sum(row.duration_ns[0] for row in members))
            print_hanging(Text(f"\n{name}   the same kernels as {printed[ran]}, {time}", style="bold"), console)
            hidden = True
            room -= 1
            continue
        printed[ran] = name
        table = _show_table(console.width)
        for each in folded:
            if not unfold and table.row_count >= room:
                left += each.rows
            else:
                hidden = _show_module(table, names[each.row.kind], each, unfold) or hidden
        room -= table.row_count
        console.print(Text(f"\n{name}", style="bold"))
        console.print(table)
    _print_left(left, console)
    if hidden or left:
        console.print(Text("\nOne line per kernel and layer: --unfold, or --format csv", style="dim"))


def _print_left(rows: Sequence[Row], console: Console) -> None:
    """Say what is not printed, where something is not, and how to see it."""
    if not rows:
        return
    kernels = sum(len(row.a) for row in rows)
    where = f"{count(len(rows), 'module')} of {count(len({row.phase for row in rows}), 'phase')}"
    ways = "--phase NAME prints one phase, --unfold everything"
    console.print()
    print_hanging(Text(f"{count(kernels, 'more kernel')} in {where}: {ways}", style="bold"), console)


def _show_module(table: Table, name: str, each: FoldedRow, unfold: bool) -> bool:
    """Add a module's lines and return whether a line sums up several kernels."""
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
            Text(printable(name) if position == 0 else ""),
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
