"""Figures of a flip search: margins, how far the logits move, and the largest logits of a flip."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from tracediff.findings.flips import Flip, FlipsResult, Search, StepChoice
from tracediff.findings.flips_summary import nearest_flips
from tracediff.report.flips.plots import CHANGED, LINE, TEXT, rows_of_plots, styled
from tracediff.report.flips.words import number, tie_words, token_words

_STEPS = "#c9cad0"
_BATCH_COLOURS = ("#c43d00", "#0b6fae", "#8a6a00", "#7a4fc4", "#2c7a4b")
_BATCH_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
_BATCH_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
# Flips whose top-8 logits become a figure of their own.
_DRAWN_FLIPS = 3
# Margin bins end at 1, 2, 4, … 2^10 ULP; what is larger shares one bin.
_LARGEST_BIN = 11


def flip_figures(result: FlipsResult) -> dict[str, Any]:
    """Return the figures of a flip search by file stem: margins, logit changes, the nearest ties' largest logits."""
    return {
        "margins": margin_histogram(result),
        "logit_changes": logit_changes(result),
        **top_logits_figures(result),
    }


def top_logits_figures(result: FlipsResult) -> dict[str, Any]:
    """Return a figure of the largest logits at the nearest tie that flipped of each precision, by file stem."""
    figures = {}
    for search, flip in nearest_flips(result)[:_DRAWN_FLIPS]:
        stem = f"top_logits_{search.dtype}{'_tf32' if search.tf32 else ''}_p{flip.prompt}_s{flip.step}_b{flip.batch}"
        figures[stem] = top_logits(flip, result.settings.batches[0], search.label)
    return figures


def margin_histogram(result: FlipsResult) -> Any:
    """Draw how many steps have which margin, and how many of these flip, for each precision.

    Bins are powers of two in ULP of the logits' dtype; exact ties and everything beyond 1024 ULP have their own.
    """
    searches = [search for search in result.searches if search.prompts]
    figure = rows_of_plots([search.label for search in searches])
    names = ["tie", *(f"≤ {2**exponent}" for exponent in range(_LARGEST_BIN)), f"> {2 ** (_LARGEST_BIN - 1)}"]
    flipping = sorted({flip.batch for _, flip in result.flips()}, key=result.settings.batches.index)
    for row, search in enumerate(searches, start=1):
        steps = [0] * len(names)
        for margin in (margin for prompt in search.prompts for margin in prompt.margin_ulp):
            steps[_margin_bin(margin)] += 1
        figure.add_bar(
            x=list(range(len(names))),
            y=steps,
            name="steps",
            marker_color=_STEPS,
            showlegend=row == 1,
            legendgroup="steps",
            row=row,
            col=1,
        )
        for place, batch in enumerate(result.settings.batches[1:]):
            flips = [0] * len(names)
            for flip in search.flips:
                flips[_margin_bin(flip.margin_ulp)] += flip.batch == batch
            # Batch sizes that flip anything are drawn side by side within their bin.
            offset = (flipping.index(batch) - (len(flipping) - 1) / 2) * 0.9 / len(flipping) if any(flips) else 0
            figure.add_scatter(
                x=[each + offset for each, count in enumerate(flips) if count],
                y=[count for count in flips if count],
                mode="markers+text",
                text=[str(count) for count in flips if count],
                textposition="top center",
                textfont={"size": 10},
                marker={**_batch_marker(place), "size": 8},
                name=f"flips, batch {result.settings.batches[0]} → {batch}",
                legendgroup=f"batch {batch}",
                showlegend=row == 1,
                row=row,
                col=1,
            )
        figure.update_yaxes(type="log", title_text="steps", dtick=1, row=row, col=1)
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, range=[-0.5, len(names) - 0.5])
    figure.update_xaxes(title_text="margin (top-1 minus top-2 logit) in ULP", row=len(searches), col=1)
    return styled(figure, "Margin of every step, and of the steps that flip", len(searches))


def logit_changes(result: FlipsResult) -> Any:
    """Draw the largest change of any logit against the step: the median over prompts, the range, and the flips."""
    searches = [search for search in result.searches if search.prompts]
    figure = rows_of_plots([search.label for search in searches])
    for row, search in enumerate(searches, start=1):
        for place, batch in enumerate(result.settings.batches[1:]):
            columns = _changes_by_step(search, batch)
            name = f"batch {result.settings.batches[0]} → {batch}"
            figure.add_scatter(
                # A logarithmic axis has no zero: a step whose logits are all equal is a gap.
                x=list(range(len(columns))),
                y=[statistics.median(column) or None for column in columns],
                mode="lines+markers",
                marker={**_batch_marker(place), "size": 5},
                line={"dash": _BATCH_DASHES[place % len(_BATCH_DASHES)], "width": 1.5},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [max(column) - statistics.median(column) for column in columns],
                    "arrayminus": [0] * len(columns),
                    "thickness": 0.7,
                    "width": 2,
                },
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                row=row,
                col=1,
            )
        flips = search.flips
        figure.add_scatter(
            x=[flip.step for flip in flips],
            y=[_change_at(search, flip) for flip in flips],
            mode="markers",
            marker={"symbol": "x", "size": 10, "color": TEXT},
            name="flip",
            legendgroup="flip",
            showlegend=row == 1,
            row=row,
            col=1,
        )
        changes = [change for prompt in search.prompts for other in prompt.batches for change in other.largest_change]
        ticks = _log_ticks(changes)
        words = [f"{tick:g}" for tick in ticks]
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=words, title_text="logit change", row=row, col=1)
    figure.update_xaxes(title_text="step", row=len(searches), col=1)
    title = "Largest change of a logit at each step (median over prompts, bar to the largest)"
    return styled(figure, title, len(searches))


def top_logits(flip: Flip, base: int, precision: str) -> Any:
    """Draw the largest logits of one flip at both batch sizes; the chosen token is outlined, equal logits say so."""
    from plotly.subplots import make_subplots  # noqa: PLC0415

    sides = ((base, flip.base), (flip.batch, flip.other))
    titles = [f"batch {batch}: token {choice.token}{_tie_suffix(choice)}" for batch, choice in sides]
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.2)
    values = [logit.logit for _, choice in sides for logit in choice.top]
    low = min(values) - 0.4 * ((max(values) - min(values)) or 1.0)
    for column, (_, choice) in enumerate(sides, start=1):
        chosen = [logit.token == choice.token for logit in choice.top]
        figure.add_bar(
            # Bars grow from the lower end of the axis, since from zero they would all look alike.
            base=low,
            x=[logit.logit - low for logit in choice.top],
            y=[token_words(logit.token, logit.text) for logit in choice.top],
            orientation="h",
            text=[number(logit.logit) for logit in choice.top],
            textposition="inside",
            textangle=0,
            insidetextfont={"color": TEXT},
            marker={
                "color": ["#ffdcc8" if is_chosen else "#e4e5e9" for is_chosen in chosen],
                "line": {
                    "color": [CHANGED if is_chosen else LINE for is_chosen in chosen],
                    "width": [3 if is_chosen else 1 for is_chosen in chosen],
                },
            },
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    figure.update_xaxes(
        range=[low, max(values) + 0.05 * (max(values) - low)], title_text="logit (axis cut at the left)"
    )
    margin = (
        "an exact tie" if flip.margin == 0 else f"a margin of {number(flip.margin)} ({number(flip.margin_ulp)} ULP)"
    )
    title = f"{precision}, prompt {flip.prompt}, step {flip.step}: at batch {base} {margin}"
    return styled(figure, title, 2, top=120)


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers for a logarithmic axis that shows these values: some even where it spans no decade."""
    positive = [value for value in values if value > 0]
    if not positive:
        return []
    low, high = min(positive), max(positive)
    digits = (1, 1.5, 2, 3, 4, 5, 7) if high < 5 * low else (1, 2, 5) if high < 500 * low else (1,)
    exponents = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
    return [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]


def _changes_by_step(search: Search, batch: int) -> list[list[float]]:
    rows = [other.largest_change for prompt in search.prompts for other in prompt.batches if other.batch == batch]
    longest = max(map(len, rows), default=0)
    return [[row[step] for row in rows if step < len(row)] for step in range(longest)]


def _change_at(search: Search, flip: Flip) -> float:
    prompt = next(prompt for prompt in search.prompts if prompt.prompt == flip.prompt)
    return next(other.largest_change[flip.step] for other in prompt.batches if other.batch == flip.batch)


def _margin_bin(margin_ulp: float) -> int:
    """Return 0 for a tie, 1 up to 1 ULP, 2 up to 2, 3 up to 4, …"""
    return 0 if margin_ulp == 0 else min(_LARGEST_BIN, max(0, math.ceil(math.log2(margin_ulp)))) + 1


def _tie_suffix(choice: StepChoice) -> str:
    return f"<br><sup>{tie_words(choice)}</sup>" if choice.tied > 1 else ""


def _batch_marker(place: int) -> dict[str, Any]:
    return {
        "color": _BATCH_COLOURS[place % len(_BATCH_COLOURS)],
        "symbol": _BATCH_SYMBOLS[place % len(_BATCH_SYMBOLS)],
    }
