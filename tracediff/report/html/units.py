"""Numbers in words that only this report says; durations and changes are `tracediff.report.words`."""

from __future__ import annotations

from collections.abc import Iterable

from tracediff.diff.fold import layer_span


def difference(before: int, after: int) -> str:
    """Return the difference of two whole numbers with its sign, empty where there is none."""
    if before == after:
        return ""
    return f"+{after - before:,}" if after > before else f"−{before - after:,}"


def share(part: float) -> str:
    """Return a share of 1 in percent: 0 % and 100 % only where it is exactly that."""
    percent = part * 100
    if percent <= 0:
        return "0 %"
    if percent >= 100:
        return "100 %"
    if percent < 0.1:
        return "<0.1 %"
    if percent > 99.9:
        return ">99.9 %"
    return f"{percent:.1f} %"


def layer_ranges(layers: Iterable[int]) -> str:
    """Return `layers 0–3, 5` for 0, 1, 2, 3, 5; empty for none."""
    distinct = tuple(sorted(set(layers)))
    if not distinct:
        return ""
    return f"layer {distinct[0]}" if len(distinct) == 1 else f"layers {layer_span(distinct)}"


def listing(words: Iterable[str], limit: int = 6) -> str:
    """Return `a, b and c`; beyond `limit` the rest as a count."""
    items = list(words)
    if len(items) > limit:
        return f"{', '.join(items[:limit])} and {len(items) - limit} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
