"""Remedies on the terminal: the answer, a line per setting, the fastest at every point, then the other sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.remedies import Price, RemediesResult, TimedPoint, prices
from tracediff.findings.remedies_catalog import DEFAULT
from tracediff.report.measured_on import versions
from tracediff.report.remedies.words import (
    decode_is_prefill_words,
    decode_words,
    error_words,
    findings,
    left_words,
    prefill_words,
    ratio,
    what_ran,
)
from tracediff.text import printable

_WIDE = 130
_NAME_WIDTHS = (24, 52)
_NARROWEST_NAME = 12
_OTHER_COLUMNS = 64
_GAP = 2
_LINES = 30
_FEWEST_SETTINGS = 4
# The table's two lines of names, and the line that counts the settings left out.
_AROUND_ROWS = 3
_LEGEND = "decode, prefill: classes of bit-equal batches; × fastest, × default: GPU time at the worst batch and keys"


def print_remedies(result: RemediesResult, console: Console) -> None:
    """Print what ran, the answer, bits and prices, the invariant settings first and the default next, and the rest."""
    priced = prices(result)
    ranked = sorted(priced, key=_rank)
    answer, *others = findings(result, priced)
    above = [
        Text(printable(what_ran(result)), style="bold"),
        Text(printable(versions(result.machine)), style="dim"),
        Text(printable(answer)),
    ]
    below = [Text(_LEGEND, style="dim")] if ranked else []
    below += [
        Text(printable(_fastest(result, keys)), style="dim")
        for keys in dict.fromkeys(point.keys for point in result.times)
    ]
    below += [Text(f"· {printable(sentence)}") for sentence in others]
    taken = sum(len(console.render_lines(text)) for text in (*above, *below))
    table, shown = _table_of_at_most(_LINES - taken - _AROUND_ROWS, ranked, console.width)
    console.print(*above, sep="\n")
    if ranked:
        console.print(table)
    if len(ranked) > shown:
        console.print(f"… {len(ranked) - shown} more settings (--format markdown has all)")
    console.print(*below, sep="\n")


def _rank(price: Price) -> tuple[bool, bool, float]:
    return not price.invariant, price.setting != DEFAULT, price.worst_ratio or float("inf")


def _fastest(result: RemediesResult, keys: int) -> str:
    points: dict[str, list[TimedPoint]] = {}
    for point in result.times:
        if point.keys == keys:
            points.setdefault(point.fastest, []).append(point)
    words = [
        f"{name} at batch {', '.join(str(each.batch) for each in won)}"
        f" ({', '.join(f'{each.milliseconds(name):.2f}' for each in won)} ms)"
        for name, won in points.items()
    ]
    return f"fastest at {keys} keys: {'; '.join(words)}"


class _Column(NamedTuple):
    """A column behind the settings' names; `narrowest` is how many characters it takes where its cells are folded."""

    title: str
    narrowest: int
    words: Callable[[Price], str]


_COLUMNS = (
    _Column("decode", 10, lambda price: decode_words(price.bits, between="\n")),
    _Column("prefill", 7, lambda price: prefill_words(price.bits)),
    _Column("decode\n= prefill", 9, lambda price: decode_is_prefill_words(price.bits)),
    _Column("× fastest", 9, lambda price: ratio(price.worst_ratio)),
    _Column("× default", 9, lambda price: ratio(price.ratio_to_default)),
)
_FIRST_TO_LEAVE = ("decode\n= prefill", "× default", "prefill", "× fastest")
_WIDE_COLUMNS = (
    _Column("left", 9, lambda price: left_words(price.bits)),
    _Column("error", 7, lambda price: error_words(price.bits)),
)


def _columns_that_fit(width: int) -> tuple[_Column, ...]:
    """Return the columns that leave room for names; a terminal too narrow for all of them lacks the last in rank."""
    columns = _COLUMNS + (_WIDE_COLUMNS if width >= _WIDE else ())
    for title in _FIRST_TO_LEAVE:
        if _NARROWEST_NAME + sum(_GAP + column.narrowest for column in columns) <= width:
            break
        columns = tuple(column for column in columns if column.title != title)
    return columns


def _table_of_at_most(lines: int, ranked: Sequence[Price], width: int) -> tuple[Table, int]:
    """Return a table of the first settings that fit into `lines`, never fewer than a few, and how many they are."""
    columns = _columns_that_fit(width)
    taken = sum(_GAP + column.narrowest for column in columns)
    fits = width >= _NAME_WIDTHS[0] + taken
    name_width = min(max(width - _OTHER_COLUMNS, _NAME_WIDTHS[0]), _NAME_WIDTHS[1]) if fits else max(width - taken, 1)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    table.add_column("setting", no_wrap=fits, overflow="fold")
    for column in columns:
        table.add_column(column.title, overflow="fold", min_width=None if fits else column.narrowest)
    for number, price in enumerate(ranked):
        name = _in_lines(price.setting, name_width)
        cells = [column.words(price) for column in columns]
        lines -= max(name.count("\n"), cells[0].count("\n")) + 1
        if lines < 0 and number >= _FEWEST_SETTINGS:
            return table, number
        style = "bold green" if price.reaches_goal else "green" if price.invariant else ""
        table.add_row(Text(name, style=style), *cells)
    return table, len(ranked)


def _in_lines(setting: str, width: int) -> str:
    """Return a setting's name, broken only behind a `+`, in lines of at most `width` characters where its parts fit."""
    lines: list[str] = []
    for part in printable(setting).split("+"):
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f"+{part}"
        else:
            lines.append(part)
    return "+\n".join(lines)
