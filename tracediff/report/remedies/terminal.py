"""Remedies on the terminal: a line per setting, times at every point, then what it says in sentences."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.remedies import Price, RemediesResult, prices
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


def print_remedies(result: RemediesResult, console: Console) -> None:
    """Print what ran, bits and prices, and the sentences."""
    priced = prices(result)
    console.print(Text(printable(what_ran(result)), style="bold"))
    console.print(Text(printable(versions(result.machine)), style="dim"))
    console.print(_table(priced, wide=console.width >= _WIDE))
    for point in result.times:
        settings = sorted(point.rounds, key=lambda name: point.milliseconds(name) or 0.0)
        fastest = ", ".join(f"{name} {point.milliseconds(name):.2f} ms" for name in settings[:2])
        console.print(Text(printable(f"batch {point.batch}, {point.keys} keys, fastest: {fastest}"), style="dim"))
    for sentence in findings(result, priced):
        console.print(Text(f"· {printable(sentence)}"))


def _table(priced: tuple[Price, ...], wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", overflow="fold")
    for column in ("decode", "prefill", "d = p", "× fastest", "× default"):
        table.add_column(column, overflow="fold")
    if wide:
        table.add_column("left", overflow="fold")
        table.add_column("error")
    for price in priced:
        style = "bold green" if price.reaches_goal else "green" if price.invariant else ""
        table.add_row(
            Text(printable(price.setting), style=style),
            decode_words(price.bits),
            prefill_words(price.bits),
            decode_is_prefill_words(price.bits),
            ratio(price.worst_ratio),
            ratio(price.ratio_to_default),
            *([left_words(price.bits), error_words(price.bits)] if wide else []),
        )
    return table
