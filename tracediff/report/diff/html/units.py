"""Numbers in words that only this report says; durations and changes are `tracediff.report.words`."""

from __future__ import annotations


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
