"""One trace's kernel table on the terminal: per phase and module its kernels, in launch order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.diff.fold import FoldedRow, fold
from tracediff.diff.places import kind_names, layer_span, phase_name
from tracediff.diff.result import Kernel, Row, Side
from tracediff.diff.words import listing
from tracediff.kernels import describe
from tracediff.report.diff.hanging import at_joints, print_hanging, print_stacked
from tracediff.report.diff.lines import split_k_factor
from tracediff.report.words import coverage_words, duration, trace_words
from tracediff.text import count, printable, sizes_in_words

#: About as many lines as a person will read: blocks that differ, or steps that do, are many lines each.
_MOST_LINES = 1000
#: Roles of kernels that sum nothing.
_PLAIN_ROLES = ("elementwise", "copy")
#: Below this many columns the kernels' column would break words into letters.
_NARROW = 80


class _Line(NamedTuple):
    """A kernel, or neighbours that sum nothing; layers and module are empty but on a module's first line."""

    layers: str
    module: str
    kernel: str
    split_k: str
    grid: str
    time: str


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

    Phases that run blocks of a model come first: those beside it (sampling, set-up of a step) are many in a server.
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
    for phase, members in sorted(by_phase.items(), key=_comes_late):
        if room <= 0 and not unfold:
            left += members
            continue
        folded = [each for row in members for each in fold([row])] if unfold else list(fold(members))
        name = phase_name(phase)
        ran = _what_ran(folded, names)
        if not unfold and ran in printed:
            time = duration(sum(row.duration_ns[0] for row in members))
            print_hanging(Text(f"\n{name}   the same kernels as {printed[ran]}, {time}", style="bold"), console)
            hidden = True
            room -= 1
            continue
        printed[ran] = name
        lines = list[_Line]()
        for each in folded:
            if not unfold and len(lines) >= room:
                left += each.rows
            else:
                of_module, summed = _lines(names[each.row.kind], each, unfold)
                lines += of_module
                hidden = hidden or summed
        room -= len(lines)
        console.print(Text(f"\n{name}", style="bold"))
        _print_lines(lines, console)
    _print_left(left, console)
    if hidden or left:
        console.print(Text("\nOne line per kernel and layer: --unfold, or --format csv", style="dim"))


def _comes_late(phase: tuple[str | None, list[Row]]) -> tuple[bool, bool]:
    name, rows = phase
    return name is None, all(row.layer is None for row in rows)


def _what_ran(folded: Sequence[FoldedRow], names: Mapping[str, str]) -> object:
    """What must be equal for two phases to be told once."""
    return tuple(
        (names[each.row.kind], each.layers, tuple((kernel.parsed.name, kernel.split_k) for kernel in each.row.a))
        for each in folded
    )


def _print_left(rows: Sequence[Row], console: Console) -> None:
    """Say what is not printed, where something is not, and how to see it."""
    if not rows:
        return
    kernels = sum(len(row.a) for row in rows)
    where = f"{count(len(rows), 'module')} of {count(len({row.phase for row in rows}), 'phase')}"
    ways = "--phase NAME prints one phase, --unfold everything"
    console.print()
    print_hanging(Text(f"{count(kernels, 'more kernel')} in {where}: {ways}", style="bold"), console)


def _lines(name: str, each: FoldedRow, unfold: bool) -> tuple[list[_Line], bool]:
    """Return a module's lines, and whether one of them sums up several kernels."""
    lines, summed = list[_Line](), False
    for kernels in [[kernel] for kernel in each.row.a] if unfold else _runs_of_plain_kernels(each.row.a):
        first = kernels[0]
        split, grid = split_k_factor(first), sizes_in_words(first.grid)
        words = describe(first.parsed, factor_is_known=bool(split))
        if len(kernels) > 1:
            roles = listing(sorted({str(kernel.parsed.role) for kernel in kernels}))
            words, grid, summed = f"{len(kernels)} kernels: {roles}", "", True
        lines.append(
            _Line(
                layers="" if lines else layer_span(each.layers),
                module="" if lines else printable(name),
                kernel=printable(words),
                split_k=split,
                grid=grid,
                time=duration(sum(kernel.duration_ns for kernel in kernels)),
            )
        )
    return lines, summed


def _runs_of_plain_kernels(kernels: Sequence[Kernel]) -> list[list[Kernel]]:
    """Return the kernels, neighbours that sum nothing together."""
    return [
        part
        for plain, run in groupby(kernels, key=lambda kernel: kernel.parsed.role in _PLAIN_ROLES)
        for part in ([list(run)] if plain else [[kernel] for kernel in run])
    ]


def _print_lines(lines: Sequence[_Line], console: Console) -> None:
    """Print a table, or where its columns would be a few letters wide, one fact under the other."""
    if console.width >= _NARROW:
        console.print(_table(lines, console.width))
        return
    for line in lines:
        title = Text.assemble((line.module, "bold"), (f"  {line.layers}" if line.layers else "", "dim"))
        split = f"split-K {line.split_k}" if line.split_k else ""
        numbers = "   ".join(filter(None, (split, line.grid and f"grid {line.grid}", line.time)))
        print_stacked(title, [Text(line.kernel)], console)
        print_stacked(Text(), [Text(numbers, style="dim")], console, indent=4)


def _table(lines: Sequence[_Line], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    room = width // 5 + 2
    modules = [at_joints(line.module, room) for line in lines]
    longest = max((cell_len(part) for module in modules for part in module.split("\n")), default=0)
    table.add_column("layers", no_wrap=True, max_width=10)
    # A fixed width: rich would shrink it and break words.
    table.add_column("module", overflow="fold", width=max(len("module"), min(longest, room)))
    table.add_column("kernel", overflow="fold", ratio=1)
    table.add_column("split-K", no_wrap=True)
    table.add_column("grid", overflow="fold", max_width=12)
    table.add_column("time", no_wrap=True, justify="right")
    for line, module in zip(lines, modules, strict=True):
        table.add_row(*map(Text, line._replace(module=module)))
    return table
