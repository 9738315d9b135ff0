"""Align two kernel sequences: a longest common subsequence in which equal kernels weigh most.

Within a module the order of launches matters, so matches never cross. Kernels that differ may still be matched (a GEMM
with the GEMM in its place) if they have the same role: the alignment takes as many equal kernels as it can, then as
many of the same role, of the same family where there is a choice. What finds no counterpart is one-sided.

Time and memory grow with the product of the lengths, so long sequences (a trace without ranges) are aligned window by
window: linear in their length, and best within a window.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracediff.diff.result import Kernel
from tracediff.trace.table import Int64

AlignedPair = tuple[Kernel | None, Kernel | None]

#: Kernels of each side that are aligned at once; 32 MiB of weights.
_WINDOW = 2048

#: An equal kernel outweighs all weaker matches that fit into a window; the role alone weighs least.
_SAME_NAME, _SAME_FAMILY, _SAME_ROLE = 10_000_000, 2_049, 2_048
_NO_ROLE = -1


def align(a: Sequence[Kernel], b: Sequence[Kernel]) -> list[AlignedPair]:
    """Return the aligned sequence of pairs: every kernel of both sides once, in launch order."""
    head = 0
    while head < min(len(a), len(b)) and _name(a[head]) == _name(b[head]):
        head += 1
    tail = 0
    while tail < min(len(a), len(b)) - head and _name(a[-1 - tail]) == _name(b[-1 - tail]):
        tail += 1
    result: list[AlignedPair] = list(zip(a[:head], b[:head], strict=True))
    result += _align_middle(a[head : len(a) - tail], b[head : len(b) - tail])
    result += zip(a[len(a) - tail :], b[len(b) - tail :], strict=True)
    return result


def _align_middle(a: Sequence[Kernel], b: Sequence[Kernel]) -> list[AlignedPair]:
    result: list[AlignedPair] = []
    while len(a) > _WINDOW or len(b) > _WINDOW:
        # What follows the window may change the matches in its second half, so only the first half is kept.
        window = _align_window(a[:_WINDOW], b[:_WINDOW])
        done_a = done_b = 0
        for left, right in window:
            if max(done_a, done_b) >= _WINDOW // 2:
                break
            result.append((left, right))
            done_a, done_b = done_a + (left is not None), done_b + (right is not None)
        a, b = a[done_a:], b[done_b:]
    return result + _align_window(a, b)


def _align_window(a: Sequence[Kernel], b: Sequence[Kernel]) -> list[AlignedPair]:
    """Dynamic programme from the ends: the heaviest set of pairs that do not cross."""
    if not a or not b:
        return [*((each, None) for each in a), *((None, each) for each in b)]
    weight = _weights(a, b)
    best = np.zeros((len(a) + 1, len(b) + 1), dtype=np.int64)
    for i in range(len(a) - 1, -1, -1):
        paired = np.where(weight[i] > 0, best[i + 1, 1:] + weight[i], 0)
        best[i, :-1] = np.maximum.accumulate(np.maximum(best[i + 1, :-1], paired)[::-1])[::-1]
    result: list[AlignedPair] = []
    i = j = 0
    while i < len(a) and j < len(b):
        if weight[i, j] and best[i, j] == best[i + 1, j + 1] + weight[i, j]:
            result.append((a[i], b[j]))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            result.append((a[i], None))
            i += 1
        else:
            result.append((None, b[j]))
            j += 1
    result += [(each, None) for each in a[i:]]
    result += [(None, each) for each in b[j:]]
    return result


def _weights(a: Sequence[Kernel], b: Sequence[Kernel]) -> Int64:
    names: dict[object, int] = {}
    sides = []
    for side in (a, b):
        name = [names.setdefault(each.identity, len(names)) for each in side]
        family = [names.setdefault(("family", each.parsed.family), len(names)) for each in side]
        role = [names.setdefault(("role", each.parsed.role), len(names)) for each in side]
        known = [each.parsed.role != "other" for each in side]
        sides.append((np.array(name), np.array(family), np.where(known, role, _NO_ROLE)))
    (name_a, family_a, role_a), (name_b, family_b, role_b) = sides
    same_role = (role_a[:, None] == role_b) & (role_a[:, None] != _NO_ROLE)
    same_family = family_a[:, None] == family_b
    weight = np.where(same_role, np.where(same_family, _SAME_FAMILY, _SAME_ROLE), 0)
    return np.where(name_a[:, None] == name_b, _SAME_NAME, weight).astype(np.int64)


def _name(kernel: Kernel) -> str:
    return kernel.identity
