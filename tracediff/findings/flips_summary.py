"""Numbers over a flip search: rates with intervals, flips by margin, distances between distributions. No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracediff.findings.flips import BatchSteps, Flip, FlipsResult, PromptSteps, Search, margin_unit
from tracediff.measured import is_near_tie, typical_change

# Upper ends of the margin bins in ULP; 0 is an exact tie.
MARGIN_BINS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
#: A token whose probability changes by more than this is what reinforcement learning clips or masks.
RATIO_RANGE = (0.9, 1.1)
_NORMAL_QUANTILE_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginBin:
    """Steps whose margin at the base batch size lies above the bin before and at most at `up_to_ulp`.

    Attributes:
        up_to_ulp: Upper end in ULP; None in the last bin.
        steps: Steps in the bin.
        flips: Of these, flips.
    """

    up_to_ulp: float | None
    steps: int
    flips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One precision at one batch size against the base.

    Attributes:
        precision: As shown (`float16`, `tf32`).
        base, batch: The two batch sizes.
        prompts: Prompts compared.
        steps: Steps compared.
        flips: Steps where the choice differs.
        rate: Flips ÷ steps.
        interval: 95 % Wilson score interval of the rate. It takes steps for independent, which those of one prompt are
            not quite.
        first_divergence: For each prompt the first step that flips, or None.
        sequence_interval: 95 % Wilson score interval of the share of prompts with a flip.
        exact_ties: Steps whose two largest logits are equal at the base.
        equal_steps: Steps where every logit has the same bits at both batch sizes.
        largest_change: Largest absolute change of a logit.
        largest_change_ulp: The same in ULP of the dtype at the step's largest logit.
        largest_flip_margin, largest_flip_margin_ulp: Of the flips, at the base; None without flips.
        unexplained: Flips whose gap is larger than what the two logits moved (`Flip.covered`): another batch size
            cannot do that to an argmax.
        typical_change: Median of the largest change of a logit, over the steps that moved and did not flip; None
            without such a step.
        far: Flips that are no near tie: the gap is more than twice `typical_change`.
        near_unknown: Flips of which that cannot be told.
        largest_gap, largest_gap_ulp: Of the flips, at the base; None without flips.
        by_margin: Steps and flips by margin.
        nearer_base, nearer_other, as_near: Steps where the base's logits are nearer to the float32 reference (root mean
            square over the vocabulary), where the other's are, and where both are as near; None without a reference.
        error_base, error_other: Mean distance to the reference; None without one.
        reference_base, reference_other: Flips where the reference chooses the base's token, the other's; None without.
        rows_agree: Whether all rows of a batch of copies had the same bits at every step.
        divergence: Mean Kullback-Leibler divergence per step, in nats; None where it was not measured.
        largest_divergence: Its largest value.
        ratio_outside: Steps where the probability of the base's token changes by a ratio outside `RATIO_RANGE`; None
            where it was not measured.
        noise: Steps where two runs of one batch size, the base's or the other, chose different tokens: they are no
            flips. None where both repeat their bits.
    """

    precision: str
    base: int
    batch: int
    prompts: int
    steps: int
    flips: int
    rate: float | None
    interval: tuple[float, float]
    first_divergence: tuple[int | None, ...]
    sequence_interval: tuple[float, float]
    exact_ties: int
    equal_steps: int
    largest_change: float
    largest_change_ulp: float
    largest_flip_margin: float | None
    largest_flip_margin_ulp: float | None
    unexplained: int
    typical_change: float | None
    far: int
    near_unknown: int
    largest_gap: float | None
    largest_gap_ulp: float | None
    by_margin: tuple[MarginBin, ...]
    nearer_base: int | None
    nearer_other: int | None
    as_near: int | None
    error_base: float | None
    error_other: float | None
    reference_base: int | None
    reference_other: int | None
    rows_agree: bool
    divergence: float | None
    largest_divergence: float | None
    ratio_outside: int | None
    noise: int | None = None


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (E. B. Wilson 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share, squared = hits / trials, _NORMAL_QUANTILE_95**2
    centre = share + squared / (2 * trials)
    spread = _NORMAL_QUANTILE_95 * math.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
    scale = 1 + squared / trials
    # At 0 and at all hits the ends are exact; rounding must not push them past the proportion.
    low = 0.0 if hits == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if hits == trials else min(1.0, (centre + spread) / scale)
    return low, high


def summarise(result: FlipsResult) -> tuple[Summary, ...]:
    """Return one summary per precision and batch size, in the order of the search."""
    settings = result.settings
    return tuple(
        summary_of(search, search.prompts, settings.batches[0], batch)
        for search in result.searches
        for batch in settings.batches[1:]
    )


def summary_of(search: Search, prompts: Sequence[PromptSteps], base: int, batch: int) -> Summary:
    """Return the summary of some of a search's prompts at one batch size.

    Args:
        search: The precision.
        prompts: Which of its prompts to count.
        base, batch: The two batch sizes.
    """
    pairs = [(prompt, other) for prompt in prompts for other in prompt.batches if other.batch == batch]
    flips = [flip for prompt in prompts for flip in prompt.flips if flip.batch == batch]
    steps = sum(len(prompt.chosen) for prompt, _ in pairs)
    first = tuple(_first_flip(prompt, batch) for prompt, _ in pairs)
    changes = [
        (change, change / ulp)
        for prompt, other in pairs
        for change, ulp in zip(other.largest_change, prompt.ulp, strict=True)
    ]
    typical = _typical_change(pairs)
    near = [_is_near_tie(flip, typical) for flip in flips]
    widest = max(flips, key=lambda flip: flip.least_gap, default=None)
    divergences = [value for _, other in pairs for value in other.divergence]
    ratios = [value for _, other in pairs for value in other.ratio]
    return Summary(
        precision=search.label,
        base=base,
        batch=batch,
        prompts=len(pairs),
        steps=steps,
        flips=len(flips),
        rate=len(flips) / steps if steps else None,
        interval=wilson_interval(len(flips), steps),
        first_divergence=first,
        sequence_interval=wilson_interval(sum(step is not None for step in first), len(pairs)),
        exact_ties=sum(margin == 0 for prompt, _ in pairs for margin in prompt.margin),
        equal_steps=sum(share == 0 for _, other in pairs for share in other.changed_share),
        largest_change=max((change for change, _ in changes), default=0.0),
        largest_change_ulp=max((change for _, change in changes), default=0.0),
        largest_flip_margin=max((flip.margin for flip in flips), default=None),
        largest_flip_margin_ulp=max((flip.margin_ulp for flip in flips), default=None),
        unexplained=sum(flip.covered is False for flip in flips),
        typical_change=typical,
        far=near.count(False),
        near_unknown=near.count(None),
        largest_gap=None if widest is None else widest.least_gap,
        largest_gap_ulp=None if widest is None else widest.least_gap / _ulp_of_top(search, widest),
        by_margin=_by_margin(prompts, batch),
        **_beside_reference(pairs, flips),
        rows_agree=all(other.rows_agree for _, other in pairs),
        divergence=sum(divergences) / len(divergences) if divergences else None,
        largest_divergence=max(divergences, default=None),
        ratio_outside=sum(not RATIO_RANGE[0] <= ratio <= RATIO_RANGE[1] for ratio in ratios) if ratios else None,
        noise=_noise(pairs),
    )


def _beside_reference(pairs: Sequence[tuple[PromptSteps, BatchSteps]], flips: Sequence[Flip]) -> dict[str, Any]:
    """Return the fields of a summary that compare both batch sizes with the float32 reference."""
    distances = [
        distance for prompt, other in pairs for distance in zip(prompt.to_reference, other.to_reference, strict=True)
    ]
    found: dict[str, int | float] = {
        "nearer_base": sum(a < b for a, b in distances),
        "nearer_other": sum(b < a for a, b in distances),
        "as_near": sum(a == b for a, b in distances),
        "error_base": sum(a for a, _ in distances) / max(1, len(distances)),
        "error_other": sum(b for _, b in distances) / max(1, len(distances)),
        "reference_base": sum(flip.reference == flip.base.token for flip in flips),
        "reference_other": sum(flip.reference == flip.other.token for flip in flips),
    }
    return {name: value if distances else None for name, value in found.items()}


def _typical_change(pairs: Sequence[tuple[PromptSteps, BatchSteps]]) -> float | None:
    """Return how far logits typically move at the steps that do not flip."""
    changes: list[float] = []
    for prompt, other in pairs:
        flipped = {flip.step for flip in prompt.flips if flip.batch == other.batch}
        changes += (change for step, change in enumerate(other.largest_change) if step not in flipped)
    return typical_change(changes)


def _is_near_tie(flip: Flip, typical: float | None) -> bool | None:
    near = is_near_tie(flip.least_gap, typical)
    return None if near and flip.gap is None else near


def _ulp_of_top(search: Search, flip: Flip) -> float:
    return margin_unit(search.format, flip.base.top[0].logit, flip.base.top[0].logit - flip.least_gap)


def ranked_flips(result: FlipsResult) -> list[tuple[Search, Flip]]:
    """Return all flips, the nearest ties first: the nearest of each precision, then the second nearest of each, …

    Of equally near ones, ties of more tokens come first.
    """
    by_precision = [[(search, flip) for flip in sorted(search.flips, key=_nearness)] for search in result.searches]
    return [pair for rank in itertools.zip_longest(*by_precision) for pair in rank if pair is not None]


def nearest_flips(result: FlipsResult) -> list[tuple[Search, Flip]]:
    """Return the nearest tie that flipped of each precision."""
    return [(search, min(search.flips, key=_nearness)) for search in result.searches if search.flips]


def _nearness(flip: Flip) -> tuple[float, int, int, int, int]:
    return flip.margin_ulp, -flip.base.tied, flip.prompt, flip.step, flip.batch


def _noise(pairs: Sequence[tuple[PromptSteps, BatchSteps]]) -> int | None:
    if all(prompt.noise is None and other.noise is None for prompt, other in pairs):
        return None
    return sum(len({*(prompt.noise or ()), *(other.noise or ())}) for prompt, other in pairs)


def _first_flip(prompt: PromptSteps, batch: int) -> int | None:
    return min((flip.step for flip in prompt.flips if flip.batch == batch), default=None)


def _by_margin(prompts: Sequence[PromptSteps], batch: int) -> tuple[MarginBin, ...]:
    steps, flips = [0] * len(MARGIN_BINS), [0] * len(MARGIN_BINS)
    for prompt in prompts:
        for margin in prompt.margin_ulp:
            steps[_bin_of(margin)] += 1
        for flip in prompt.flips:
            if flip.batch == batch:
                flips[_bin_of(flip.margin_ulp)] += 1
    return tuple(
        MarginBin(up_to_ulp=None if math.isinf(end) else end, steps=in_bin, flips=flipped)
        for end, in_bin, flipped in zip(MARGIN_BINS, steps, flips, strict=True)
    )


def _bin_of(margin_ulp: float) -> int:
    return next(place for place, end in enumerate(MARGIN_BINS) if margin_ulp <= end)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginRow:
    """Steps of one precision whose margins at the base batch size lie in one bin.

    Attributes:
        precision: Of the search.
        up_to_ulp: Upper end of the bin in ULP, included; None for the open last one.
        steps: How many steps.
        flips: How many of them flip, one number per other batch size.
    """

    precision: str
    up_to_ulp: float | None
    steps: int
    flips: tuple[int, ...]


def margin_rows(summaries: Sequence[Summary]) -> list[MarginRow]:
    """Return the bins that hold a step, precision by precision; the other batch sizes are those of the summaries."""
    rows = []
    for precision in dict.fromkeys(summary.precision for summary in summaries):
        columns = [summary.by_margin for summary in summaries if summary.precision == precision]
        rows += [
            MarginRow(
                precision=precision,
                up_to_ulp=bins[0].up_to_ulp,
                steps=bins[0].steps,
                flips=tuple(each.flips for each in bins),
            )
            for bins in zip(*columns, strict=True)
            if bins[0].steps
        ]
    return rows
