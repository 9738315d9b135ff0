"""Blocks with more or fewer products than the others of their step: products keep the names that they have in those.

A compiled Llama computes its rotary angles in the first block, one product more than in all others. Counting through
would give every later product of that block its neighbour's name. So the products and attentions of such a block are
aligned with those of a usual one; what has no counterpart there is an extra.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from tracediff.trace.table import Bool, Int64

#: Numbers from here on count what a block has more than the usual one.
EXTRA = 50_000
#: What one pair counts that is the same kernel launched the same way, of one name, or of one kind alone.
_SAME, _ALIKE, _OF_ONE_KIND = 3, 2, 1
#: Blocks with more products and attentions than this are not aligned.
_LONGEST = 64


class Anchors(Struct, frozen=True, kw_only=True):
    """The products and attentions of a step, in order.

    Attributes:
        block: The block of each.
        is_product: Whether it is a product; else it is attention.
        name: Equal for kernels of one name.
        code: Equal for kernels of one name and launch configuration.
    """

    block: Int64
    is_product: Bool
    name: Int64
    code: Int64

    def of(self, block: int) -> Anchors:
        """Return those of one block."""
        first, past = np.searchsorted(self.block, (block, block + 1))
        part = slice(int(first), int(past))
        return Anchors(
            block=self.block[part], is_product=self.is_product[part], name=self.name[part], code=self.code[part]
        )

    def __len__(self) -> int:
        return len(self.block)


def renumbered(anchors: Anchors, number: Int64, blocks: int) -> Int64:
    """Return each anchor's number among those of its kind in its block, as most blocks count.

    Args:
        anchors: Products and attentions of all blocks of a step.
        number: Their numbers counted through each block.
        blocks: How many blocks there are.
    """
    products = np.bincount(anchors.block, weights=anchors.is_product, minlength=blocks).astype(np.int64)
    every = np.bincount(anchors.block, minlength=blocks)
    sorts, sort, sizes = np.unique(products * (len(anchors) + 1) + every, return_inverse=True, return_counts=True)
    most = int(np.argmax(sizes))
    if len(sorts) == 1 or 2 * int(sizes[most]) <= blocks:
        return number
    result = number.copy()
    usual = np.flatnonzero(sort == most)
    for block in np.flatnonzero(sort != most).tolist():
        nearest = int(usual[np.argmin(np.abs(usual - block))])
        mine = anchors.of(block)
        if len(mine) and max(len(mine), int(every[nearest])) <= _LONGEST:
            first = int(np.searchsorted(anchors.block, block))
            result[first : first + len(mine)] = _numbers(mine, anchors.of(nearest))
    return result


def _numbers(mine: Anchors, usual: Anchors) -> list[int]:
    counterpart = _counterparts(mine, usual)
    counted = {True: 0, False: 0}
    known = []
    for is_product in usual.is_product.tolist():
        counted[is_product] += 1
        known.append(counted[is_product])
    extras = {True: EXTRA, False: EXTRA}
    numbers = []
    for is_product, other in zip(mine.is_product.tolist(), counterpart, strict=True):
        if other is None:
            extras[is_product] += 1
        numbers.append(extras[is_product] if other is None else known[other])
    return numbers


def _counterparts(mine: Anchors, usual: Anchors) -> list[int | None]:
    """Return which anchor of the usual block each one is, None for an extra; the alignment that counts most."""
    worth = np.where(mine.is_product[:, None] == usual.is_product, _OF_ONE_KIND, 0)
    worth = np.where((mine.name[:, None] == usual.name) & (worth > 0), _ALIKE, worth)
    pairs = np.where((mine.code[:, None] == usual.code) & (worth > 0), _SAME, worth).tolist()
    rows, columns = len(mine), len(usual)
    # best[i][j]: the most that the anchors from i and from j on can count.
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(rows - 1, -1, -1):
        for column in range(columns - 1, -1, -1):
            paired = pairs[row][column] and pairs[row][column] + best[row + 1][column + 1]
            best[row][column] = max(paired, best[row + 1][column], best[row][column + 1])
    found: list[int | None] = []
    column = 0
    for row in range(rows):
        while column < columns and best[row][column] == best[row][column + 1] > best[row + 1][column]:
            column += 1
        is_paired = (
            column < columns
            and pairs[row][column]
            and best[row][column] == pairs[row][column] + best[row + 1][column + 1]
        )
        found.append(column if is_paired else None)
        column += bool(is_paired)
    return found
