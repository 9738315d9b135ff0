"""Align two kernel sequences: a longest common subsequence in which equal kernels weigh most.

Within one module the order of launches is what it does, so kernels are never matched across each other. Kernels that
differ may still stand for each other (a GEMM for the GEMM at its place) where they have the same role; the alignment
takes as many equal kernels as it can, then as many of the same family, then of the same role. What finds no
counterpart is one-sided.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from tracediff.diff.result import Kernel

#: Above this many cells, sequences are first cut at their equal runs (memory and time grow with the product).
_MOST_CELLS = 1_000_000


def align(a: Sequence[Kernel], b: Sequence[Kernel]) -> list[tuple[Kernel | None, Kernel | None]]:
    """Return the aligned sequence of pairs: every kernel of both sides once, in launch order."""
    head = 0
    while head < min(len(a), len(b)) and _name(a[head]) == _name(b[head]):
        head += 1
    tail = 0
    while tail < min(len(a), len(b)) - head and _name(a[-1 - tail]) == _name(b[-1 - tail]):
        tail += 1
    middle = _align_middle(a[head : len(a) - tail], b[head : len(b) - tail])
    end = list(zip(a[len(a) - tail :], b[len(b) - tail :], strict=True))
    return [*zip(a[:head], b[:head], strict=True), *middle, *end]


def _align_middle(a: Sequence[Kernel], b: Sequence[Kernel]) -> list[tuple[Kernel | None, Kernel | None]]:
    if len(a) * len(b) <= _MOST_CELLS:
        return _weighted(a, b)
    matcher = SequenceMatcher(None, [_name(each) for each in a], [_name(each) for each in b], autojunk=True)
    result: list[tuple[Kernel | None, Kernel | None]] = []
    done_a = done_b = 0
    for start_a, start_b, length in matcher.get_matching_blocks():
        gap_a, gap_b = a[done_a:start_a], b[done_b:start_b]
        if len(gap_a) * len(gap_b) <= _MOST_CELLS:
            result += _weighted(gap_a, gap_b)
        else:
            result += [(each, None) for each in gap_a] + [(None, each) for each in gap_b]
        done_a, done_b = start_a + length, start_b + length
        result += zip(a[start_a:done_a], b[start_b:done_b], strict=True)
    return result


def _weighted(a: Sequence[Kernel], b: Sequence[Kernel]) -> list[tuple[Kernel | None, Kernel | None]]:
    """Dynamic programme over both sequences, from their ends: the heaviest set of pairs that do not cross."""
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        row, below = best[i], best[i + 1]
        for j in range(len(b) - 1, -1, -1):
            weight = _weight(a[i], b[j])
            row[j] = max(below[j], row[j + 1], below[j + 1] + weight if weight else 0)
    result: list[tuple[Kernel | None, Kernel | None]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        weight = _weight(a[i], b[j]) if i < len(a) and j < len(b) else 0
        if weight and best[i][j] == best[i + 1][j + 1] + weight:
            result.append((a[i], b[j]))
            i, j = i + 1, j + 1
        elif j >= len(b) or (i < len(a) and best[i][j] == best[i + 1][j]):
            result.append((a[i], None))
            i += 1
        else:
            result.append((None, b[j]))
            j += 1
    return result


def _weight(a: Kernel, b: Kernel) -> int:
    """An equal kernel outweighs any number of lesser matches that a module could hold in its place."""
    if _name(a) == _name(b):
        return 1_000_000
    if a.parsed.role != b.parsed.role or a.parsed.role == "other":
        return 0
    return 1_001 if a.parsed.family == b.parsed.family else 1_000


def _name(kernel: Kernel) -> str:
    return kernel.parsed.name
