"""Many traces in one table: a column per trace, the first is the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.diff.fold import around_layer, layer_span, module_in_block
from tracediff.diff.many import ManyDiff, ManyRow
from tracediff.diff.result import Kernel, Row, Verdict
from tracediff.report.diff.json import SCHEMA, kernel_to_dict, lines_of, run_evidence_to_dict, side_to_dict
from tracediff.report.diff.lines import matters
from tracediff.report.diff.terminal import STYLE, print_side
from tracediff.report.words import count, duration, split_k_words
from tracediff.text import printable, sizes_in_words


def many_to_json(many: ManyDiff) -> str:
    """Return the comparison as JSON text: `traces` in order; per row one entry per trace in each list."""
    return lines_of(
        {
            "schema": SCHEMA,
            "traces": [side_to_dict(side) for side in many.sides],
            "warnings": [list(diff.warnings) for diff in many.diffs],
            "summary": {
                "kernels": [side.kernels for side in many.sides],
                "splitk_reduce": [side.splitk_reduce for side in many.sides],
                "duration_ns": [side.duration_ns for side in many.sides],
                "modules": len(many.rows),
                "verdicts": [{str(verdict): n for verdict, n in diff.verdicts.items()} for diff in many.diffs],
            },
            "evidence": [run_evidence_to_dict(diff) for diff in many.diffs],
            "rows": [_row_to_dict(row) for row in many.rows],
        }
    )


def print_many(many: ManyDiff, console: Console, everything: bool = False, unfold: bool = False) -> None:
    """Print one table per phase.

    Args:
        many: The result.
        console: Where to.
        everything: Also modules that run the same kernels in the same order of sums everywhere.
        unfold: One line per layer.
    """
    for number, side in enumerate(many.sides):
        print_side(str(number), side, console)
    for number, diff in enumerate(many.diffs, start=1):
        for warning in diff.warnings:
            console.print(Text(f"! {number}: {printable(warning)}", style="bold yellow"))
    console.print(_totals(many))
    tables: dict[str | None, Table] = {}
    for group in _folded(many, everything, unfold):
        row = group[0]
        if row.phase not in tables:
            tables[row.phase] = _table(row.phase, many)
        module = printable(module_in_block(_first(row))) or "(directly in the phase)"
        layers = tuple(each.layer for each in group if each.layer is not None)
        tables[row.phase].add_row(layer_span(layers), Text(module), *_cells(group))
    for table in tables.values():
        console.print(table)
    hidden = sum(not _matters(row) for row in many.rows)
    if hidden and not everything:
        words = count(hidden, "module")
        console.print(
            Text(f"{words} with the same kernels and order of sums not shown (--all shows them)", style="dim")
        )


def _totals(many: ManyDiff) -> Table:
    """Make the table of what can be counted: a line per trace, verdicts against trace 0."""
    table = Table(box=SIMPLE_HEAD, title="against trace 0", title_justify="left", title_style="bold", pad_edge=False)
    for heading in ("", "kernels", "split-K reduces", "time", *Verdict):
        table.add_column(heading, justify="right", overflow="fold")
    for number, side in enumerate(many.sides):
        counts = [str(many.diffs[number - 1].verdicts[verdict]) for verdict in Verdict] if number else []
        table.add_row(str(number), f"{side.kernels:,}", f"{side.splitk_reduce:,}", duration(side.duration_ns), *counts)
    return table


def _table(phase: str | None, many: ManyDiff) -> Table:
    title = "(outside every range)" if phase is None else printable(phase)
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("layers", no_wrap=True)
    table.add_column("module", overflow="fold", min_width=16)
    for number, side in enumerate(many.sides):
        batch = "" if side.info.batch is None else f" (batch {side.info.batch})"
        table.add_column(f"{number}{batch}", overflow="fold")
    return table


def _cells(group: list[ManyRow]) -> Iterator[Text]:
    """Yield the reference's cell, then each other trace's: what ran, and the verdict against the reference."""
    row = group[0]
    reference = Text(_ran(_first(row).a))
    reference.append(f"\n{duration(sum(_first(each).duration_ns[0] for each in group))}", style="dim")
    yield reference
    for position, compared in enumerate(row.rows):
        if compared is None:
            yield Text("–", style="dim")
            continue
        launched = [each.rows[position] for each in group]
        time = sum(each.duration_ns[1] for each in launched if each is not None)
        cell = Text(compared.verdict, style=STYLE[compared.verdict])
        if compared.verdict is not Verdict.SAME_KERNELS:
            cell.append(f"\n{_ran(compared.b)}", style="")
        cell.append(f"\n{duration(time)}", style="dim")
        yield cell


def _ran(kernels: tuple[Kernel, ...]) -> str:
    """Say what a module ran: its first GEMM's tile and split-K factor, or how many kernels."""
    gemm = next((kernel.parsed for kernel in kernels if kernel.parsed.role == "gemm"), None)
    if gemm is None:
        return count(len(kernels), "kernel")
    tile = sizes_in_words(gemm.tile) if gemm.tile else ""
    return printable(" ".join(filter(None, [gemm.family, tile, f"split-K {split_k_words(kernels)}"])))


def _folded(many: ManyDiff, everything: bool, unfold: bool) -> list[list[ManyRow]]:
    groups: dict[object, list[ManyRow]] = {}
    for number, row in enumerate(many.rows):
        if everything or _matters(row):
            alone = unfold or row.layer is None
            groups.setdefault(number if alone else _signature(row), []).append(row)
    return list(groups.values())


def _signature(row: ManyRow) -> object:
    shown = tuple(None if each is None else (each.verdict, _ran(each.b)) for each in row.rows)
    first = _first(row)
    place = row.module if row.layer is None else around_layer(row.module, row.layer)
    return row.phase, place, _ran(first.a), shown


def _matters(row: ManyRow) -> bool:
    return any(each is not None and matters(each) for each in row.rows)


def _first(row: ManyRow) -> Row:
    return next(each for each in row.rows if each is not None)


def _row_to_dict(row: ManyRow) -> dict[str, Any]:
    first = _first(row)
    others = [(each.b if each else ()) for each in row.rows]
    return {
        "phase": row.phase,
        "layer": row.layer,
        "module": row.module,
        "kernels": [[kernel_to_dict(kernel) for kernel in side] for side in (first.a, *others)],
        "splitk_reduce": [first.splitk_reduce[0], *(each.splitk_reduce[1] if each else 0 for each in row.rows)],
        "split_k": [first.split_k[0], *(each.split_k[1] if each else None for each in row.rows)],
        "duration_ns": [first.duration_ns[0], *(each.duration_ns[1] if each else 0 for each in row.rows)],
        "verdicts": [str(each.verdict) if each else None for each in row.rows],
        "reasons": [each.reason if each else None for each in row.rows],
        "evidence": [each.evidence if each else None for each in row.rows],
    }
