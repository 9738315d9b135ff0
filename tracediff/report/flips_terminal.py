"""A flip search on the terminal: the table of precisions, the margins, and each flip's largest logits side by side."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.evidence.flips_result import Choice, Flip, FlipsResult
from tracediff.evidence.flips_summary import Summary, summarise
from tracediff.report.flips_words import findings, flip_title, number, percent, setting_words, tie_words, token_words
from tracediff.text import printable

SHOWN_FLIPS = 5


def print_flips(result: FlipsResult, console: Console, all_flips: bool = False) -> None:
    """Print a flip search.

    Args:
        result: What was found.
        console: Where to.
        all_flips: Show every flip's logits, not only the first few.
    """
    console.print(Text(printable(setting_words(result)), style="dim"))
    summaries = summarise(result)
    console.print(_rates(summaries))
    if any(summary.flips for summary in summaries):
        console.print(_margins(summaries))
    flips = list(result.flips())
    shown = flips if all_flips else flips[:SHOWN_FLIPS]
    for search, flip in shown:
        console.print(Text(flip_title(flip, result.settings.batches[0], search.label), style="bold"))
        console.print(_side_by_side(flip, result.settings.batches[0]))
    if len(shown) < len(flips):
        console.print(Text(f"{len(flips) - len(shown)} more flips not shown (--all shows them)", style="dim"))
    for sentence in findings(result):
        console.print(Text(f"· {printable(sentence)}"))


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    return table


def _rates(summaries: tuple[Summary, ...]) -> Table:
    columns = ("precision", "batch", "flips ÷ steps", "rate (95 %)", "first", "equal steps", "largest change")
    table = _table("flips", columns)
    for summary in summaries:
        diverged = [step for step in summary.first_divergence if step is not None]
        low, high = summary.interval
        table.add_row(
            summary.precision,
            f"{summary.base} → {summary.batch}",
            Text(f"{summary.flips} ÷ {summary.steps:,}", style="bold red" if summary.flips else ""),
            f"{percent(low)} … {percent(high)}",
            f"{min(diverged)} ({len(diverged)} of {summary.prompts} prompts)" if diverged else "none",
            f"{summary.equal_steps:,}",
            f"{number(summary.largest_change)} = {number(summary.largest_change_ulp)} ULP",
        )
    return table


def _margins(summaries: tuple[Summary, ...]) -> Table:
    """Flips ÷ steps by the margin at the base batch size."""
    ends = [margin_bin.up_to_ulp for margin_bin in summaries[0].by_margin]
    names = ["tie", *(f"≤ {end:g}" for end in ends[1:-1] if end is not None), f"> {ends[-2]:g}"]
    table = _table("flips ÷ steps by margin in ULP", ("precision", "batch", *names))
    for summary in summaries:
        cells = [
            Text(f"{margin_bin.flips} ÷ {margin_bin.steps}", style="bold red" if margin_bin.flips else "dim")
            for margin_bin in summary.by_margin
        ]
        table.add_row(summary.precision, f"{summary.base} → {summary.batch}", *cells)
    return table


def _side_by_side(flip: Flip, base: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for batch, choice in ((base, flip.base), (flip.batch, flip.other)):
        table.add_column(f"batch {batch}: token", overflow="fold")
        table.add_column("logit", justify="right")
        table.add_column("below top (ULP)", justify="right")
        tie = tie_words(choice)
        if tie:
            table.caption = f"{table.caption}; batch {batch}: {tie}" if table.caption else f"batch {batch}: {tie}"
    for left, right in zip(_rows(flip.base), _rows(flip.other), strict=True):
        table.add_row(*left, *right)
    return table


def _rows(choice: Choice) -> list[tuple[Text, Text, Text]]:
    """One row per logit; the chosen token stands in brackets, so that it shows without colour."""
    top = choice.top[0].logit
    # The margin in ULP gives the unit; of a tie the next lower logit would not, so ULP are left out there.
    unit = (top - choice.top[1].logit) / choice.margin_ulp if choice.margin_ulp else None
    rows = []
    for logit in choice.top:
        chosen = logit.token == choice.token
        name = token_words(logit.token, logit.text)
        below = top - logit.logit
        distance = number(below) if unit is None else f"{number(below)} ({number(below / unit)})"
        style = "bold reverse" if chosen else "bold" if below == 0 else ""
        rows.append((Text(f"[{name}]" if chosen else name, style=style), Text(number(logit.logit)), Text(distance)))
    return rows
