"""One flip as both batch sizes saw it: the largest logits side by side, the chosen token marked. For every format."""

from __future__ import annotations

from dataclasses import dataclass

from tracediff.findings.flips import Flip, Search, StepChoice, margin_unit
from tracediff.report.flips.words import flip_title, number, tie_words, token_words

# Bars grow from below the smallest logit shown: from zero they would all look alike.
_LEAST_BAR = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitRow:
    """One of the largest logits of one side.

    Attributes:
        token: Its id and text.
        logit: Its value.
        below: By how many ULP it lies below the largest.
        chosen: Whether it was chosen.
        tied: Whether it equals the largest without being chosen.
        bar: Its length as a bar, between 0 and 1, on one scale for both sides.
    """

    token: str
    logit: str
    below: str
    chosen: bool
    tied: bool
    bar: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipSide:
    """One batch size: its logits, and what decided where several are largest."""

    batch: int
    tie: str
    rows: tuple[LogitRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipView:
    """One flip.

    Attributes:
        id: Names it in a page.
        title: What flipped, with its margin and what moved.
        sides: The base batch size, then the other.
        reference: The token that the same weights in float32 choose; None where that was not measured.
    """

    id: str
    title: str
    sides: tuple[FlipSide, FlipSide]
    reference: int | None


def flip_view(flip: Flip, base: int, search: Search) -> FlipView:
    """Return what is shown of a flip.

    Args:
        flip: The flip.
        base: The base batch size.
        search: The search it is from.
    """
    logits = [logit.logit for choice in (flip.base, flip.other) for logit in choice.top]
    low, high = min(logits), max(logits)

    def bar(logit: float) -> float:
        return 1.0 if high == low else _LEAST_BAR + (1 - _LEAST_BAR) * (logit - low) / (high - low)

    def side(batch: int, choice: StepChoice) -> FlipSide:
        top = choice.top[0].logit
        unit = margin_unit(search.format, top, choice.top[1].logit)
        rows = tuple(
            LogitRow(
                token=token_words(each.token, each.text),
                logit=number(each.logit),
                below=number((top - each.logit) / unit),
                chosen=each.token == choice.token,
                tied=each.logit == top and each.token != choice.token,
                bar=bar(each.logit),
            )
            for each in choice.top
        )
        return FlipSide(batch=batch, tie=tie_words(choice), rows=rows)

    return FlipView(
        id=f"flip-{search.label}-{flip.prompt}-{flip.step}-{flip.batch}",
        title=flip_title(flip, base, search.label),
        sides=(side(base, flip.base), side(flip.batch, flip.other)),
        reference=flip.reference,
    )
