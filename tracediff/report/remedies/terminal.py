"""Remedies on the terminal: a line per setting, the fastest at every point, then what it says in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.remedies import Price, RemediesResult, TimedPoint, prices
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
_NARROW = 100
_SETTINGS = 10
_LEGEND = "decode, prefill: classes of bit-equal batches; × fastest, × default: GPU time at the worst batch and keys"


def print_remedies(result: RemediesResult, console: Console) -> None:
    """Print what ran, bits and prices, the invariant settings first, and the sentences."""
    priced = prices(result)
    ranked = sorted(priced, key=lambda price: (not price.invariant, price.worst_ratio or float("inf")))
    console.print(Text(printable(what_ran(result)), style="bold"))
    console.print(Text(printable(versions(result.machine)), style="dim"))
    console.print(_table(ranked[:_SETTINGS], console.width))
    if len(ranked) > _SETTINGS:
        console.print(f"… {len(ranked) - _SETTINGS} more settings (--format markdown has all)")
    console.print(Text(_LEGEND, style="dim"))
    for keys in dict.fromkeys(point.keys for point in result.times):
        console.print(Text(printable(_fastest(result, keys)), style="dim"))
    for sentence in findings(result, priced):
        console.print(Text(f"· {printable(sentence)}"))


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


def _table(priced: Sequence[Price], width: int) -> Table:
    wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", no_wrap=True)
    for column in ("decode", "prefill", "decode\n= prefill", "× fastest", "× default"):
        table.add_column(column, overflow="fold")
    if wide:
        table.add_column("left", overflow="fold")
        table.add_column("error")
    for price in priced:
        style = "bold green" if price.reaches_goal else "green" if price.invariant else ""
        table.add_row(
            Text(_in_lines(price.setting, 24 if width < _NARROW else 38), style=style),
            decode_words(price.bits, between=", " if _NARROW <= width < _WIDE else "\n"),
            prefill_words(price.bits),
            decode_is_prefill_words(price.bits),
            ratio(price.worst_ratio),
            ratio(price.ratio_to_default),
            *([left_words(price.bits), error_words(price.bits)] if wide else []),
        )
    return table


def _in_lines(setting: str, width: int) -> str:
    """Return a setting's name, broken only behind a `+`, in lines of at most `width` characters where its parts fit."""
    lines: list[str] = []
    for part in printable(setting).split("+"):
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f"+{part}"
        else:
            lines.append(part)
    return "+\n".join(lines)
