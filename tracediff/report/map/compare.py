"""Two maps compared, on the terminal and as JSON."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.maps_compare import MapDiff, ModuleChange
from tracediff.report.map.words import what_ran
from tracediff.text import count, json_text, printable


def map_diff_to_json(diff: MapDiff) -> str:
    """Return the comparison as one line of JSON."""
    return json_text(diff.to_dict()) + "\n"


def print_map_diff(diff: MapDiff, console: Console) -> None:
    """Print both maps' names, a line per module, and what the comparison cannot say."""
    for side, each in (("a", diff.a), ("b", diff.b)):
        console.print(Text.assemble((f"{side}  ", "dim"), printable(what_ran(each))))
    console.print(_table(diff))
    for change in diff.changes:
        if change.example is not None:
            rows, a, b = change.example
            console.print(Text(printable(f"{_label(change)} at {count(rows, 'row')}: {a} → {b}")))
    for side, labels in (("a", diff.only_a), ("b", diff.only_b)):
        if labels:
            console.print(Text(printable(f"only in {side}: {', '.join(labels)}"), style="yellow"))
    for warning in diff.warnings:
        console.print(Text(printable(f"Warning: {warning}"), style="yellow"))


def _table(diff: MapDiff) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("module", "rows", "bits changed", "order changed", "classes a → b", "time b ÷ a"):
        table.add_column(column, overflow="fold")
    for change in diff.changes:
        table.add_row(
            printable(_label(change)),
            str(len(change.rows)),
            _share(change.bits_changed),
            _share(change.order_changed),
            _classes(change),
            "–" if change.time_ratio is None else f"{change.time_ratio:.2f}",
        )
    return table


def _label(change: ModuleChange) -> str:
    return change.name if change.keys is None else f"{change.name}, {change.keys} keys"


def _share(rows: tuple[int, ...] | None) -> Text:
    if rows is None:
        return Text("not known", style="yellow")
    return Text(str(len(rows)), style="bold" if rows else "dim")


def _classes(change: ModuleChange) -> Text:
    words = f"{change.classes[0]} → {change.classes[1]}"
    if any(change.varying):
        words += f" ({len(change.varying[0])} → {len(change.varying[1])} vary)"
    if change.split_apart is not None:
        words += f", {change.split_apart[0]} and {change.split_apart[1]} no longer equal"
    elif change.joined is not None:
        words += f", {change.joined[0]} and {change.joined[1]} now equal"
    return Text(words, style="bold" if change.classes_changed else "dim")
