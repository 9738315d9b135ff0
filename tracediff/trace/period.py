"""Layers without ranges: the blocks of a model launch the same kernels one after the other, and show as a period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracediff.trace.table import Int32, Int64

_SHORTEST, _LONGEST = 3, 400
#: A block must stand at least so often in a row.
_REPEATS = 3
#: What of a trace is looked at to find the period; the layers are then found in all of it.
_LOOKED_AT = 100_000
#: A shorter period is preferred to a longer one (a multiple, a whole forward) that covers little more.
_NEARLY = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """Repeated blocks in a sequence of kernels.

    Attributes:
        kernels: Kernels per block.
        layer: Index of the block each kernel belongs to within its run of blocks, -1 for none.
        run: Index of the run, -1 for none.
    """

    kernels: int
    layer: Int32
    run: Int32


def find_periods(sequence: Int64) -> Periods | None:
    """Find the repeated block in a sequence of codes, None where nothing repeats three times in a row."""
    head = sequence[:_LOOKED_AT]
    covered = {}
    for period in range(_SHORTEST, min(_LONGEST, len(head) // _REPEATS) + 1):
        first, past = _runs(head, period)
        # A run of one and the same kernel has every period; it is no block.
        blocks = np.array([len(np.unique(head[i : i + period])) > 1 for i in first.tolist()], dtype=bool)
        covered[period] = int((past - first)[blocks].sum()) if len(first) else 0
    best = max(covered.values(), default=0)
    if best == 0:
        return None
    period = min(each for each, count in covered.items() if count >= _NEARLY * best)
    first, past = _runs(sequence, period)
    layer, run = np.full(len(sequence), -1, dtype=np.int32), np.full(len(sequence), -1, dtype=np.int32)
    for number, (begin, end) in enumerate(zip(first.tolist(), past.tolist(), strict=True)):
        whole = (end - begin) // period * period
        layer[begin : begin + whole] = np.arange(whole) // period
        run[begin : begin + whole] = number
    return Periods(kernels=period, layer=layer, run=run)


def _runs(sequence: Int64, period: int) -> tuple[Int64, Int64]:
    """Return where stretches that repeat with this period, often enough, begin and end; they do not overlap."""
    same = np.r_[False, sequence[period:] == sequence[:-period], False]
    change = np.flatnonzero(same[1:] != same[:-1])
    first, past = change[::2], change[1::2] + period
    long = past - first >= _REPEATS * period
    first, past = first[long], past[long]
    # A run ends where the next one begins: the overlap is the last block of the one, not the first of the other.
    if len(first):
        first = np.r_[first[0], np.maximum(first[1:], past[:-1])]
        long = past - first >= _REPEATS * period
    return (first[long], past[long]) if len(first) else (first, past)
