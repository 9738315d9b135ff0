"""Remedies on the terminal: the answer, a line per setting, the fastest at every point, then the other sentences."""

from __future__ import annotations

from collections.abc import Sequence

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
_OTHER_COLUMNS = 64
_LINES = 30
_FEWEST_SETTINGS = 4
_AROUND_ROWS = 3
"""The table's two lines of names, and the line that counts the settings left out."""
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
    below = [Text(_LEGEND, style="dim")]
    below += [
        Text(printable(_fastest(result, keys)), style="dim")
        for keys in dict.fromkeys(point.keys for point in result.times)
    ]
    below += [Text(f"· {printable(sentence)}") for sentence in others]
    taken = sum(len(console.render_lines(text)) for text in (*above, *below))
    table, shown = _table_of_at_most(_LINES - taken - _AROUND_ROWS, ranked, console.width)
    console.print(*above, sep="\n")
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


def _table_of_at_most(lines: int, ranked: Sequence[Price], width: int) -> tuple[Table, int]:
    """Return a table of the first settings that fit into `lines`, never fewer than a few, and how many they are."""
    wide = width >= _WIDE
    name_width = min(max(width - _OTHER_COLUMNS, _NAME_WIDTHS[0]), _NAME_WIDTHS[1])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", no_wrap=True)
    for column in ("decode", "prefill", "decode\n= prefill", "× fastest", "× default"):
        table.add_column(column, overflow="fold")
    if wide:
        table.add_column("left", overflow="fold")
        table.add_column("error")
    for number, price in enumerate(ranked):
        name = _in_lines(price.setting, name_width)
        decode = decode_words(price.bits, between="\n")
        lines -= max(name.count("\n"), decode.count("\n")) + 1
        if lines < 0 and number >= _FEWEST_SETTINGS:
            return table, number
        table.add_row(
            Text(name, style="bold green" if price.reaches_goal else "green" if price.invariant else ""),
            decode,
            prefill_words(price.bits),
            decode_is_prefill_words(price.bits),
            ratio(price.worst_ratio),
            ratio(price.ratio_to_default),
            *([left_words(price.bits), error_words(price.bits)] if wide else []),
        )
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
