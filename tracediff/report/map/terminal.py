"""A map on the terminal: at most 30 lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.maps import BatchMap, ModuleMap
from tracediff.findings.maps_classes import classes_of
from tracediff.report.map.words import (
    VARYING,
    break_sentences,
    classes_in_words,
    glyph,
    padding_sentences,
    prediction_sentence,
    verdict,
    what_ran,
)
from tracediff.report.measured_on import versions
from tracediff.text import count, printable, shorten

LINES = 30


def print_map(
    found: BatchMap, console: Console, wanted: Sequence[int] | None = None, buckets: Sequence[int] | None = None
) -> None:
    """Print what ran, strips of the forward, the classes of each module, what breaks them, and the cheapest padding."""
    width = console.width

    def height(line: Text) -> int:
        return len(line.wrap(console, width))

    head = _head(found, width)
    tail = [Text(printable(each)) for each in padding_sentences(found, wanted, buckets)[:4]]
    prediction = prediction_sentence(found)
    tail += [Text(prediction, style="dim")] if prediction else []
    tail += [Text(printable(f"Note: {note}"), style="yellow") for note in _notes(found)[:2]]
    equal = _all_equal(found.modules)
    room = LINES - 1 - sum(height(line) for line in (*head, *equal, *tail))
    others = [module for module in found.modules if not classes_of(module).invariant]
    shown = others if len(others) <= room else others[: max(1, room - 1)]
    for line in head:
        console.print(line)
    if shown:
        console.print(_table(shown, width))
    if len(others) > len(shown):
        more = count(len(others) - len(shown), "more module", "more modules")
        console.print(f"… {more} (--format csv has all)")
    for line in equal:
        console.print(line)
    room -= len(others)
    for line in (Text(printable(each)) for each in break_sentences(found, most=2)):
        room -= height(line)
        if room >= 0:
            console.print(line)
    for line in tail:
        console.print(line)


def _head(found: BatchMap, width: int) -> list[Text]:
    """Return what ran, its versions, and the strips of the forward with their legend."""
    lines = [
        Text(shorten(printable(what_ran(found)), width), style="bold"),
        Text(printable(versions(found.machine)), style="dim"),
    ]
    strips = [strip for module in found.forwards[:2] if (strip := _strip(module, width))]
    if strips:
        legend = f"one letter per measured row count: same letter, same bits; {VARYING} varies by run"
        lines += [*map(Text, strips), Text(legend, style="dim")]
    return lines


def _all_equal(modules: Sequence[ModuleMap]) -> list[Text]:
    """Return a line of the modules that gave one bit pattern at every row count, per range of row counts."""
    labels: dict[str, list[str]] = {}
    for module in modules:
        if classes_of(module).invariant:
            labels.setdefault(classes_in_words(module), []).append(module.label)
    return [
        Text(printable(f"all equal, {rows} rows: {' · '.join(names)}"), style="green") for rows, names in labels.items()
    ]


def _strip(module: ModuleMap, width: int) -> str:
    """Return the classes of a forward as letters, one per measured count, as many as fit."""
    classes = classes_of(module)
    letters = "".join(glyph(classes.place(each.rows)) for each in module.counts)
    if not letters:
        return ""
    head = f"{module.label}, {module.counts[0].rows}–{module.counts[-1].rows} rows: "
    return head + _cut(letters, max(10, width - len(head)))


def _table(modules: Sequence[ModuleMap], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("module", "classes", "row counts with equal bits"):
        table.add_column(column, no_wrap=True)
    used = sum(
        max((len(words) for words in column), default=0) + 2
        for column in ([module.label for module in modules], [verdict(module) for module in modules])
    )
    for module in modules:
        classes = _cut(classes_in_words(module), max(20, width - used), after=" ")
        table.add_row(printable(module.label), verdict(module), classes)
    return table


def _cut(text: str, width: int, after: str = "") -> str:
    """Return the beginning of a text, with an ellipsis where its end does not fit.

    Args:
        text: Letters or ranges, read from the left.
        width: At most so many characters.
        after: Cut only behind this.
    """
    if len(text) <= width:
        return text
    end = text.rfind(after, 0, width - 1) + len(after)
    return f"{text[:end] or text[: width - 1]}…"


def _notes(found: BatchMap) -> list[str]:
    left_out = [f"{module.label}: {each}" for module in found.modules for each in module.left_out]
    return [*found.notes, *left_out]
