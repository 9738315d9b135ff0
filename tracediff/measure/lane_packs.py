"""A pack: the prompts that share one batch, one a row, or one prompt whose copies fill all rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def chunks(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield the items in lists of `size`; the last may be shorter."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def rows_of(packs: Sequence[Sequence[_Item]], batch: int) -> list[_Item]:
    """Return what each row of each batch holds: a pack smaller than the batch is repeated in its rows."""
    return [pack[row % len(pack)] for pack in packs for row in range(batch)]
