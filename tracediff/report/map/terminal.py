"""A map on the terminal: at most 30 lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.maps import BatchMap, ModuleMap
from tracediff.findings.maps_classes import classes_of
from tracediff.report.map.words import (
    break_sentences,
    classes_in_words,
    glyph,
    padding_sentences,
    prediction_sentence,
    verdict,
    what_ran,
)
from tracediff.report.measured_on import versions
from tracediff.text import printable, shorten

LINES = 30


def print_map(
    found: BatchMap, console: Console, wanted: Sequence[int] | None = None, buckets: Sequence[int] | None = None
) -> None:
    """Print what ran, a strip of the forward, a line per module, what breaks its classes, and the cheapest padding."""
    width = console.width
    lines: list[Text] = [
        Text(printable(what_ran(found)), style="bold"),
        Text(printable(versions(found.machine)), style="dim"),
    ]
    for module in found.forwards[:2]:
        strip = _strip(module, width)
        lines += [Text(strip)] if strip else []
    tail = [Text(printable(each)) for each in padding_sentences(found, wanted, buckets)[:4]]
    prediction = prediction_sentence(found)
    tail += [Text(prediction, style="dim")] if prediction else []
    tail += [Text(printable(f"Note: {note}"), style="yellow") for note in _notes(found)[:2]]
    room = LINES - len(lines) - 1 - sum(_height(line, width) for line in tail)
    shown = found.modules if len(found.modules) <= room else found.modules[: max(1, room - 1)]
    for line in lines:
        console.print(shorten(line.plain, width), style=line.style)
    console.print(_table(shown, width))
    if len(found.modules) > len(shown):
        console.print(f"… {len(found.modules) - len(shown)} more modules (--format csv has all)")
    room -= len(found.modules)
    for line in (Text(printable(each)) for each in break_sentences(found, most=2)):
        room -= _height(line, width)
        if room >= 0:
            console.print(line)
    for line in tail:
        console.print(line)


def _height(line: Text, width: int) -> int:
    return -(-max(1, line.cell_len) // max(20, width - 10))


def _strip(module: ModuleMap, width: int) -> str:
    """Return the classes of a forward as letters, one per measured count, as many as fit."""
    classes = classes_of(module)
    letters = "".join(glyph(classes.place(count.rows)) for count in module.counts)
    if not letters:
        return ""
    head = f"{module.label}, {module.counts[0].rows}–{module.counts[-1].rows} rows: "
    return head + shorten(letters, max(10, width - len(head)))


def _table(modules: Sequence[ModuleMap], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("module", "classes", "row counts with equal bits"):
        table.add_column(column, no_wrap=True)
    used = max((len(module.label) for module in modules), default=0) + 22
    for module in modules:
        invariant = classes_of(module).invariant
        table.add_row(
            printable(module.label),
            Text(verdict(module), style="green" if invariant else ""),
            shorten(classes_in_words(module), max(20, width - used)),
        )
    return table


def _notes(found: BatchMap) -> list[str]:
    left_out = [f"{module.label}: {each}" for module in found.modules for each in module.left_out]
    return [*found.notes, *left_out]
