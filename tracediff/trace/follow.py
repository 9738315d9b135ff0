"""Follow a repeated block through a sequence of kernels, past kernels that are other, missing or more than usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracediff.trace.table import Int64

#: After a deviation half a block must be as usual again, but no fewer and no more kernels than these.
_LEAST_AGREEING, _MOST_AGREEING = 3, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A repeated block, begun anywhere in it.

    Attributes:
        name: Code of each kernel's name.
        weight: How much each kernel says of whether the block was run at all (attention, products); 0 for most.
    """

    name: Int64
    weight: Int64

    def __len__(self) -> int:
        return len(self.name)

    def backwards(self) -> Block:
        """Return the block as it is met from its end."""
        return Block(name=self.name[::-1], weight=self.weight[::-1])


def follow(name: Int64, weight: Int64, block: Block) -> Int64:
    """Return how many kernels of the block's repetition have been passed before each kernel, and at the end.

    The sequence begins where the block does. Where kernels deviate, the shortest way back into the block is taken; the
    sequence ends where there is none, or where kernels of the block that compute would be left out for it.

    Args:
        name: Code of each kernel's name.
        weight: As in `Block`, of each kernel.
        block: The block.

    Returns:
        Counts for the kernels that belong to the repetition, and one more for its end.
    """
    passed: list[Int64] = []
    place = count = 0
    while True:
        agreeing = _agreeing(name[place:], block.name, count)
        passed.append(np.arange(count, count + agreeing))
        place, count = place + agreeing, count + agreeing
        step = _way_back(name[place:], weight[place:], block, count)
        if step is None:
            break
        other, missing = step
        passed.append(count + np.minimum(np.arange(other), missing))
        place, count = place + other, count + missing
    return np.append(np.concatenate(passed), count)


def _agreeing(name: Int64, block: Int64, count: int) -> int:
    """Return how many kernels follow the block."""
    total = 0
    length = len(block)
    expected = np.concatenate([block[count % length :], np.tile(block, 7), block[: count % length]])
    while total < len(name):
        piece = name[total : total + len(expected)]
        differ = np.flatnonzero(piece != expected[: len(piece)])
        if len(differ):
            return total + int(differ[0])
        total += len(piece)
    return total


def _way_back(name: Int64, weight: Int64, block: Block, count: int) -> tuple[int, int] | None:
    """Return how many kernels of the sequence and of the block to pass until both agree again, None if they do not.

    The first place in the sequence where the block goes on decides: where what lies between is not about as long as
    what it replaces, or does not compute about as much, the repetition has ended.
    """
    length = len(block)
    agreement = min(_MOST_AGREEING, max(_LEAST_AGREEING, length // 2))
    reach = length + length // 2
    there = name[: reach + agreement]
    if len(there) < agreement:
        return None
    ahead = np.take(block.name, np.arange(count, count + reach + agreement), mode="wrap")
    agree = np.ones((len(there) - agreement + 1, reach + 1), dtype=np.bool_)
    for offset in range(agreement):
        agree &= there[offset : offset + len(agree), None] == ahead[offset : offset + reach + 1]
    places = np.flatnonzero(agree.any(axis=1))
    if not len(places):
        return None
    other = int(places[0])
    missing = np.flatnonzero(agree[other])
    computed = np.r_[0, np.cumsum(np.take(block.weight, np.arange(count, count + reach), mode="wrap"))][missing]
    difference = abs(computed - int(weight[:other].sum()))
    wanted = difference <= computed // 4
    wanted &= abs(other - missing) <= np.maximum(_LEAST_AGREEING, missing // 2)
    missing = missing[wanted]
    if not len(missing):
        return None
    return other, int(missing[np.argmin(abs(missing - other))])
