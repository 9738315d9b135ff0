"""Where xmma's `segment_k` kernels cut k: in every output tile, in some or in none, by how many blocks there are.

cuBLAS's sm90 xmma kernels share out output tiles over the blocks of a launch. With `segment_k_on`, tiles that do not
fill a whole wave of blocks are cut along k as well, as stream-K does. So the same kernel with the same launch sums in
another order when the number of rows, and with it the number of tiles, is another. cuBLASLt's log states the problem;
without it nothing is known.

Source: the tuning part of the sweep, TF32; see docs/reduction-order.md.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from tracediff.diff.result import Kernel
from tracediff.diff.rules.facts import change, k_step


class Reach(Enum):
    """Which output tiles have their k cut."""

    NO_TILE = "no tile"
    EVERY_TILE = "every tile"
    SOME_TILES = "some tiles"


class Cuts(Struct, frozen=True, kw_only=True):
    """How one launch cuts k.

    Attributes:
        reach: Which tiles are cut.
        parts: Into how many parts each tile's k is cut; None where that is not one number.
        rows: Rows of the problem (tokens).
        where: What two launches must have in common to cut k at the same places.
    """

    reach: Reach
    parts: int | None
    rows: int
    where: tuple[object, ...]


def cuts_segments(kernel: Kernel) -> bool:
    """Whether the kernel may cut k by the number of tiles."""
    return kernel.parsed.detail("segment_k") is True


def cuts(kernel: Kernel) -> Cuts | None:
    """Return where k is cut by a kernel that shares out tiles; None for other kernels and without the log."""
    log = kernel.algorithm
    if kernel.parsed.detail("segment_k") is None or log is None or log.tile is None:
        return None
    if log.m is None or log.n is None or log.k is None or 0 in (*log.tile, *(log.cluster or ())):
        return None
    if not cuts_segments(kernel):
        return Cuts(reach=Reach.NO_TILE, parts=1, rows=log.n, where=(k_step(kernel), log.k))
    across, along = -(-log.m // log.tile[0]), -(-log.n // log.tile[1])
    cluster = log.cluster if log.cluster is not None and len(log.cluster) > 1 else (1, 1)
    # Tiles beyond the output that fill up a cluster count as well.
    tiles = -(-across // cluster[0]) * cluster[0] * -(-along // cluster[1]) * cluster[1]
    blocks = kernel.grid[0] * kernel.grid[1] * kernel.grid[2]
    reach = Reach.EVERY_TILE if tiles * 2 <= blocks else Reach.SOME_TILES
    even = reach is Reach.EVERY_TILE and blocks % tiles == 0
    parts = blocks // tiles if even else None
    shared = (parts,) if even else (blocks, across, along, log.tile, log.cluster, log.swizzle)
    return Cuts(reach=reach, parts=parts, rows=log.n, where=(k_step(kernel), log.k, *shared))


def cut_alike(a: Kernel, b: Kernel) -> bool:
    """Whether both launches are known to cut k at the same places in every tile."""
    first, second = cuts(a), cuts(b)
    return first is not None and second is not None and (first.reach, first.where) == (second.reach, second.where)


def cut_elsewhere(a: Kernel, b: Kernel) -> bool:
    """Whether at least one element that both compute is certain to be summed in other parts."""
    first, second = cuts(a), cuts(b)
    if first is None or second is None or first.where[:2] != second.where[:2]:
        return False
    if Reach.EVERY_TILE in (first.reach, second.reach):
        return first.reach is not second.reach or _other_number(first.parts, second.parts)
    # Tiles are cut in one of the launches only; all of its rows are in the other as well if it has the fewer.
    some, none = (first, second) if first.reach is Reach.SOME_TILES else (second, first)
    return some.reach is not none.reach and some.rows <= none.rows


def _other_number(a: int | None, b: int | None) -> bool:
    return a is not None and b is not None and a != b


def cuts_in_words(a: Kernel, b: Kernel) -> str:
    """Say what changed: `parts of k 4 → 2`, `k cut in no tile → some tiles`."""
    first, second = cuts(a), cuts(b)
    if first is None or second is None:
        return "k is cut by the number of tiles (segment_k)"
    if first.parts is not None and second.parts is not None and first.parts != second.parts:
        return change("parts of k", first.parts, second.parts)
    if first.reach is not second.reach:
        return f"k cut in {first.reach.value} → {second.reach.value}"
    return f"k cut in {first.reach.value} of both"
