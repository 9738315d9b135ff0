"""Lists and layers in words, the same in every sentence."""

from __future__ import annotations

from collections.abc import Iterable

from tracediff.diff.places import layer_span


def listing(words: Iterable[str], limit: int = 6) -> str:
    """Return `a, b and c`; of many more than `limit` the rest as a count: `a, b and 412 more`."""
    items = list(words)
    # Where one alone is left over, its name is shorter than to count it.
    if len(items) > limit + 1:
        return f"{', '.join(items[:limit])} and {len(items) - limit:,} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def layers_in_words(layers: Iterable[int]) -> str:
    """Return `layers 0–3, 5` for 0, 1, 2, 3, 5, `layer 9` for 9; empty for none."""
    distinct = tuple(sorted(set(layers)))
    if not distinct:
        return ""
    return f"layer {distinct[0]}" if len(distinct) == 1 else f"layers {layer_span(distinct)}"
