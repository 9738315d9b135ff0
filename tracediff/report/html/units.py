"""Numbers in words. Rounding never shows a change as none, nor a part as nothing or all."""

from __future__ import annotations

from collections.abc import Iterable

from tracediff.diff.fold import layer_span


def count(number: int) -> str:
    """Return a count with thin groups: `4,389`."""
    return f"{number:,}"


def duration(nanoseconds: float) -> str:
    """Return a time in the unit that gives one to three digits before the point: `5.12 µs`."""
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanoseconds < limit:
            return f"{_digits(nanoseconds / divisor)} {unit}"
    return f"{_digits(nanoseconds / 1e9)} s"


def _digits(value: float) -> str:
    if value == int(value) or value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def change(before: float, after: float) -> str:
    """Return the change from `before` to `after` in percent with its sign; `new` or `gone` where a side is nothing."""
    if before == after:
        return "no change"
    if before == 0:
        return "new"
    if after == 0:
        return "gone"
    percent = (after - before) / before * 100
    sign = "+" if percent > 0 else "−"
    if abs(percent) < 0.05:
        return f"{sign}<0.1 %"
    return f"{sign}{abs(percent):.1f} %" if abs(percent) < 100 else f"{sign}{abs(percent):,.0f} %"


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
