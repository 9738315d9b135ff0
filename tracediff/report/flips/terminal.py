"""A flip search on the terminal: the table of precisions, the margins, and each flip's largest logits side by side."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.dtypes import FloatFormat
from tracediff.findings.flips import Flip, FlipsResult, StepChoice, margin_unit
from tracediff.findings.flips_summary import MARGIN_BINS, Summary, summarise
from tracediff.report.flips.words import findings, flip_title, number, percent, setting_words, tie_words, token_words
from tracediff.text import printable

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
    summaries = summarise(result)
    console.print(_rates(summaries))
    if all_flips and any(summary.flips for summary in summaries):
        console.print(_margins(summaries))
    flips = list(result.flips())
    shown = flips if all_flips else flips[:SHOWN_FLIPS]
    for search, flip in shown:
        console.print(Text(flip_title(flip, result.settings.batches[0], search.label), style="bold"))
        console.print(_side_by_side(flip, result.settings.batches[0], search.format))
    if len(shown) < len(flips):
        console.print(Text(f"{len(flips) - len(shown):,} more flips not shown (--all shows them)", style="dim"))
    sentences = findings(result)
    for sentence in sentences if all_flips else sentences[:_SHOWN_SENTENCES]:
        console.print(Text(f"· {printable(sentence)}"))
    if not all_flips and len(sentences) > _SHOWN_SENTENCES:
        more = len(sentences) - _SHOWN_SENTENCES
        console.print(Text(f"{more} more findings, and flips by margin: --all", style="dim"))


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
            Text(str(summary.flips), style="bold red" if summary.flips else ""),
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
    for precision in dict.fromkeys(summary.precision for summary in summaries):
        columns = [summary.by_margin for summary in summaries if summary.precision == precision]
        for bins in zip(*columns, strict=True):
            if bins[0].steps:
                flips = (Text(str(one.flips), style="bold red" if one.flips else "dim") for one in bins)
                table.add_row(precision, bin_name(bins[0].up_to_ulp), f"{bins[0].steps:,}", *flips)
    return table


def bin_name(up_to_ulp: float | None) -> str:
    """Name a margin bin by its upper end."""
    if up_to_ulp is None:
        return f"> {MARGIN_BINS[-2]:g}"
    return f"≤ {up_to_ulp:g}" if up_to_ulp else "exact tie"


def _side_by_side(flip: Flip, base: int, format_: FloatFormat) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    ties = []
    for batch, choice in ((base, flip.base), (flip.batch, flip.other)):
        table.add_column(f"batch {batch}", overflow="fold")
        table.add_column("logit", justify="right", no_wrap=True)
        table.add_column("ULP below", justify="right", no_wrap=True)
        if choice.tied > 1:
            ties.append(f"batch {batch}: {tie_words(choice)}")
    table.caption = "; ".join(ties) or None
    table.caption_justify = "left"
    for left, right in zip_longest(_rows(flip.base, format_), _rows(flip.other, format_), fillvalue=_EMPTY):
        table.add_row(*left, *right)
    return table


def _rows(choice: StepChoice, format_: FloatFormat) -> list[tuple[Text, Text, Text]]:
    """One row per logit; the chosen token is in brackets, so that it shows without colour."""
    top = choice.top[0].logit
    unit = margin_unit(format_, top, choice.top[1].logit)
    rows = []
    for logit in choice.top:
        chosen = logit.token == choice.token
        name = token_words(logit.token, logit.text)
        style = "bold reverse" if chosen else "bold" if logit.logit == top else ""
        below = "0 (tie)" if logit.logit == top and not chosen else number((top - logit.logit) / unit)
        rows.append((Text(f"[{name}]" if chosen else name, style=style), Text(number(logit.logit)), Text(below)))
    return rows
