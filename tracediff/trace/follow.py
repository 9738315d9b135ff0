"""Follow a repeated block through a sequence of kernels, past kernels that are other, missing or more than usual."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracediff.trace.table import Int64

UInt64 = npt.NDArray[np.uint64]

#: An odd number without pattern: multiplying by it spreads codes over 64 bits.
_MIX = np.uint64(0x9E3779B97F4A7C15)
#: After a deviation half a block must be as usual again, but no fewer and no more kernels than these.
_LEAST_AGREEING, _MOST_AGREEING = 3, 8
#: So few kernels may be other, missing or more than usual whatever they compute.
_FEW = 2
#: What deviates more often than this many times, and once in so many kernels, is not a repetition.
_MOST_DEVIATIONS, _KERNELS_PER_DEVIATION = 8, 8


class Block(Struct, frozen=True, kw_only=True):
    """A repeated block; it may begin anywhere in what a person would call the block.

    Attributes:
        name: Code of each kernel's name.
        weight: How much each kernel computes: attention most, products some, others nothing.
    """

    name: Int64
    weight: Int64

    def __len__(self) -> int:
        return len(self.name)

    def backwards(self) -> Block:
        """Return the block read from its end."""
        return Block(name=self.name[::-1], weight=self.weight[::-1])


def grams(codes: Int64, length: int) -> UInt64:
    """Return a hash of each piece of so many codes in a row; none where there are fewer codes."""
    count = max(len(codes) - length + 1, 0)
    result = np.zeros(count, dtype=np.uint64)
    for offset in range(length if count else 0):
        result = (result ^ codes[offset : offset + count].astype(np.uint64)) * _MIX
        result ^= result >> np.uint64(29)
    return result


def follow(name: Int64, weight: Int64, block: Block) -> Int64:
    """Follow the repeated block from the beginning of a sequence, for as long as it goes on.

    Where kernels deviate, the first way back into the block is taken. The repetition ends where there is none.

    Args:
        name: Code of each kernel's name.
        weight: As in `Block`, of each kernel.
        block: The block.

    Returns:
        For each kernel that belongs to the repetition, how many kernels of the block came before it, counted on through
        all its repeats; and one more such count for the end.
    """
    passed: list[Int64] = []
    place = count = deviations = 0
    while deviations <= _MOST_DEVIATIONS + count // _KERNELS_PER_DEVIATION:
        agreeing = _agreeing(name[place:], block.name, count)
        passed.append(np.arange(count, count + agreeing))
        place, count = place + agreeing, count + agreeing
        step = _way_back(name[place:], weight[place:], block, count)
        if step is None:
            break
        other, missing = step
        passed.append(count + np.minimum(np.arange(other), missing))
        place, count, deviations = place + other, count + missing, deviations + 1
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
    """Return how many kernels of the sequence and of the block to skip until both agree again, None if they do not.

    The first place in the sequence where the block goes on decides. If what is skipped there is not about as long as
    what it replaces, or does not compute about as much, then the repetition has ended.
    """
    length = len(block)
    agreement = min(_MOST_AGREEING, max(_LEAST_AGREEING, length // 2))
    reach = length + length // 4
    there = grams(name[: reach + agreement], agreement)
    ahead = grams(np.take(block.name, np.arange(count, count + reach + agreement), mode="wrap"), agreement)
    places = np.flatnonzero(np.isin(there, ahead))
    if not len(places):
        return None
    other = int(places[0])
    missing = np.flatnonzero(ahead == there[other])
    computed = np.r_[0, np.cumsum(np.take(block.weight, np.arange(count, count + reach), mode="wrap"))][missing]
    difference = abs(computed - int(weight[:other].sum()))
    wanted = (difference <= computed // 4) | (np.maximum(other, missing) <= _FEW)
    wanted &= abs(other - missing) <= np.maximum(_LEAST_AGREEING, missing // 2)
    missing = missing[wanted]
    if not len(missing):
        return None
    return other, int(missing[np.argmin(abs(missing - other))])
