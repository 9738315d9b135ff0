"""A flip search on the terminal: the table of precisions, the margins, and each flip's largest logits side by side."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.flips import FlipsResult
from tracediff.findings.flips_summary import Summary, margin_rows, ranked_flips, summarise
from tracediff.report.flips.top_logits import FlipView, LogitRow, flip_view
from tracediff.report.flips.words import bin_name, findings, percent, setting_words, warnings
from tracediff.text import count, printable

SHOWN_FLIPS = 1
_SHOWN_SENTENCES = 8
_EMPTY = (Text(), Text(), Text())


def print_flips(result: FlipsResult, console: Console, all_flips: bool = False) -> None:
    """Print a flip search.

    Args:
        result: What was found.
        console: Where to.
        all_flips: Show all flips' logits, the flips by margin, and every sentence.
    """
    console.print(Text(printable(setting_words(result)), style="dim"))
    for sentence in warnings(result):
        console.print(Text(printable(f"Note: {sentence}"), style="yellow"))
    summaries = summarise(result)
    console.print(_rates(summaries))
    console.print()
    if all_flips and any(summary.flips for summary in summaries):
        console.print(_margins(summaries))
    flips = ranked_flips(result)
    shown = flips if all_flips else flips[:SHOWN_FLIPS]
    for search, flip in shown:
        print_flip(flip_view(flip, result.settings.batches[0], search), console)
    if len(shown) < len(flips):
        more = count(len(flips) - len(shown), "more flip", "more flips")
        console.print(Text(f"{more} not shown (--all shows them)", style="dim"))
    sentences = findings(result)
    for sentence in sentences if all_flips else sentences[:_SHOWN_SENTENCES]:
        console.print(Text(f"· {printable(sentence)}"))
    if not all_flips and len(sentences) > _SHOWN_SENTENCES:
        more = count(len(sentences) - _SHOWN_SENTENCES, "more finding", "more findings")
        console.print(Text(f"{more}, and flips by margin: --all", style="dim"))


def print_flip(flip: FlipView, console: Console) -> None:
    """Print one flip: what flipped, what decided a tie, and the largest logits of both batch sizes."""
    console.print(Text(flip.title, style="bold"))
    for side in flip.sides:
        if side.tie:
            console.print(Text(f"batch {side.batch}: {side.tie}"))
    console.print(_top_logits(flip))


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    return table


def _rates(summaries: tuple[Summary, ...]) -> Table:
    columns = ("dtype", "batch", "flips", "steps", "rate, 95 %", "prompts", "first", "equal", "change")
    table = _table("flips", columns)
    for summary in summaries:
        diverged = [step for step in summary.first_divergence if step is not None]
        low, high = summary.interval
        table.add_row(
            summary.precision,
            f"{summary.base} → {summary.batch}",
            Text(f"{summary.flips:,}", style="bold red" if summary.flips else ""),
            f"{summary.steps:,}",
            f"{percent(low)}–{percent(high)}",
            f"{len(diverged)}/{summary.prompts}",
            str(min(diverged)) if diverged else "–",
            f"{summary.equal_steps:,}",
            f"{summary.largest_change:.3g}",
        )
    table.caption = (
        "prompts: with a flip; first: earliest step; equal: steps with equal logits; change: of a logit, largest"
    )
    table.caption_justify = "left"
    return table


def _margins(summaries: tuple[Summary, ...]) -> Table:
    """Steps, and flips at each batch size, by the margin at the base batch size."""
    batches = list(dict.fromkeys(summary.batch for summary in summaries))
    base = summaries[0].base
    table = _table(
        f"flips by margin at batch {base}",
        ("dtype", "margin in ULP", "steps", *(f"{base} → {batch}" for batch in batches)),
    )
    for row in margin_rows(summaries):
        flips = (Text(f"{number:,}", style="bold red" if number else "dim") for number in row.flips)
        table.add_row(row.precision, bin_name(row.up_to_ulp), f"{row.steps:,}", *flips)
    return table


def _top_logits(flip: FlipView) -> Table:
    """Return one flip's largest logits at both batch sizes; the chosen tokens stand in brackets and in reverse."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for side in flip.sides:
        table.add_column(f"batch {side.batch}", overflow="fold")
        table.add_column("logit", justify="right", no_wrap=True)
        table.add_column("ULP below", justify="right", no_wrap=True)
    for left, right in zip_longest(*(map(_cells, side.rows) for side in flip.sides), fillvalue=_EMPTY):
        table.add_row(*left, *right)
    return table


def _cells(row: LogitRow) -> tuple[Text, Text, Text]:
    # Brackets show without colour.
    style = "bold reverse" if row.chosen else "bold" if row.tied else ""
    below = "0 (tie)" if row.tied else row.below
    return Text(f"[{row.token}]" if row.chosen else row.token, style=style), Text(row.logit), Text(below)
