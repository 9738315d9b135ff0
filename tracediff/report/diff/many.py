"""Many traces in one table: a column per trace, the first is the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.diff.answer import answer
from tracediff.diff.fold import around_layer, layer_span, module_in_block
from tracediff.diff.many import ManyDiff, ManyRow
from tracediff.diff.result import Kernel, Row, Side, Verdict
from tracediff.diff.standing import standing
from tracediff.report.diff.answer_words import answer_line
from tracediff.report.diff.json import (
    SCHEMA,
    DistinctKernels,
    lines_of,
    module_bits_to_dict,
    run_evidence_to_dict,
    side_to_dict,
)
from tracediff.report.diff.lines import GLYPHS
from tracediff.report.diff.subject import subject_words
from tracediff.report.diff.terminal import JUDGEMENT_STYLE, STANDING_STYLE, print_hanging
from tracediff.report.diff.view import View
from tracediff.report.words import count, duration, split_k_words
from tracediff.text import printable, sizes_in_words

#: Room that layers and module take, and that a trace's column needs to be read.
_PLACE_WIDTH = 46
_TRACE_WIDTH = 22


def many_to_json(many: ManyDiff) -> str:
    """Return the comparison as JSON text: `traces` in order; per row one entry per trace in each list."""
    kernels = DistinctKernels()
    rows = [_row_to_dict(row, kernels) for row in many.rows]
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
            "answers": [answer(diff).to_dict() for diff in many.diffs],
            "evidence": [run_evidence_to_dict(diff) for diff in many.diffs],
            "kernels": kernels.stated,
            "rows": rows,
        }
    )


def print_many(many: ManyDiff, console: Console, view: View | None = None) -> None:
    """Print an answer per trace, then one table per phase with a column per trace.

    Args:
        many: The result.
        console: Where to.
        view: What to show; the default is what may differ in some trace.
    """
    view = view or View()
    console.print(Text(printable(subject_words(many.diffs[0])), style="bold"))
    for number, side in enumerate(many.sides):
        console.print(Text.assemble((f"{number}  ", "bold"), printable(side.info.path), (f"  {_batch(side)}", "dim")))
    for number, diff in enumerate(many.diffs, start=1):
        for warning in diff.warnings:
            console.print(Text(f"! {number}: {printable(warning)}", style="bold yellow"))
    console.print()
    for number, diff in enumerate(many.diffs, start=1):
        found = answer(diff)
        head, rest = answer_line(found)
        print_hanging(
            Text.assemble((f"0 → {number}  ", "dim"), (head, JUDGEMENT_STYLE[found.judgement]), f"  {rest}"), console
        )
    console.print()
    console.print(_totals(many))
    rows = [row for row in many.rows if view.modules is None or view.modules.search(row.module)]
    _print_modules(_folded(rows, view), many, console)
    hidden = sum(not _may_differ(row) for row in rows)
    if hidden and not view.everything:
        console.print(
            Text(f"=  {count(hidden, 'module')} equal in every trace, or predicted to be (--all)", style="dim")
        )


def _print_modules(groups: Sequence[list[ManyRow]], many: ManyDiff, console: Console) -> None:
    """Print a table per phase, or where a column per trace has no room, the traces under each module."""
    stacked = console.width < _PLACE_WIDTH + _TRACE_WIDTH * len(many.sides)
    by_phase: dict[str | None, list[list[ManyRow]]] = {}
    for group in groups:
        by_phase.setdefault(group[0].phase, []).append(group)
    for phase, members in by_phase.items():
        title = "(outside every range)" if phase is None else printable(phase)
        table = _table(title, many)
        if stacked:
            console.print(Text(f"\n{title}", style="bold"))
        for group in members:
            module = printable(module_in_block(_first(group[0]))) or "(no module)"
            layers = layer_span(tuple(each.layer for each in group if each.layer is not None))
            if not stacked:
                table.add_row(layers, Text(module), *_cells(group))
                continue
            console.print(Text.assemble((module, "bold"), (f"  {layers}", "dim")))
            for number, cell in enumerate(_cells(group)):
                lines = cell.split("\n")
                print_hanging(Text.assemble((f"  {number}  ", "dim"), Text(", ").join(lines)), console)
        if not stacked:
            console.print(table)


def _batch(side: Side) -> str:
    return "" if side.info.batch is None else f"batch {side.info.batch}"


def _totals(many: ManyDiff) -> Table:
    """Make the table of what can be counted: a line per trace, verdicts against trace 0."""
    table = Table(box=SIMPLE_HEAD, title="against trace 0", title_justify="left", title_style="bold", pad_edge=False)
    for heading in ("", "kernels", "split-K reduces", "time", *(verdict.replace("-", " ") for verdict in Verdict)):
        table.add_column(heading, justify="right", overflow="fold")
    for number, side in enumerate(many.sides):
        counts = [str(many.diffs[number - 1].verdicts[verdict]) for verdict in Verdict] if number else []
        table.add_row(str(number), f"{side.kernels:,}", f"{side.splitk_reduce:,}", duration(side.duration_ns), *counts)
    return table


def _table(title: str, many: ManyDiff) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    # Fixed widths: rich may shrink any other below the least it was given, and cuts what then reaches over the edge.
    table.add_column("layers", width=17)
    table.add_column("module", overflow="fold", width=24)
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
        stands = standing(compared)
        cell = Text(f"{GLYPHS[stands]} {stands}", style=STANDING_STYLE[stands])
        if compared.names_differ:
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


def _folded(rows: Sequence[ManyRow], view: View) -> list[list[ManyRow]]:
    groups: dict[object, list[ManyRow]] = {}
    for number, row in enumerate(rows):
        if view.everything or _may_differ(row):
            alone = view.unfold or row.layer is None
            groups.setdefault(number if alone else _signature(row), []).append(row)
    return list(groups.values())


def _signature(row: ManyRow) -> object:
    shown = tuple(None if each is None else (standing(each), _ran(each.b)) for each in row.rows)
    first = _first(row)
    place = row.module if row.layer is None else around_layer(row.module, row.layer)
    return row.phase, place, _ran(first.a), shown


def _may_differ(row: ManyRow) -> bool:
    return any(each is not None and standing(each).open for each in row.rows)


def _first(row: ManyRow) -> Row:
    return next(each for each in row.rows if each is not None)


def _row_to_dict(row: ManyRow, kernels: DistinctKernels) -> dict[str, Any]:
    first = _first(row)
    others = [(each.b if each else ()) for each in row.rows]
    return {
        "phase": row.phase,
        "layer": row.layer,
        "module": row.module,
        "kernels": [kernels.places(side) for side in (first.a, *others)],
        "splitk_reduce": [first.splitk_reduce[0], *(each.splitk_reduce[1] if each else 0 for each in row.rows)],
        "split_k": [first.split_k[0], *(each.split_k[1] if each else None for each in row.rows)],
        "duration_ns": [first.duration_ns[0], *(each.duration_ns[1] if each else 0 for each in row.rows)],
        "verdicts": [str(each.verdict) if each else None for each in row.rows],
        "reasons": [each.reason if each else None for each in row.rows],
        "evidence": [module_bits_to_dict(each.evidence) if each and each.evidence else None for each in row.rows],
    }
