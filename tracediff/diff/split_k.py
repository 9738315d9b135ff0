"""Into how many parts a GEMM cuts k: said by cuBLASLt's log, by the kernel's name, or inferred from the launch."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tracediff.diff.result import Kernel
from tracediff.diff.rules.k_cuts import cuts, cuts_segments

# cuBLASLt's splitKreduce_kernel: blocks of 32 x 16 threads, grid (m ÷ 32, n ÷ 16) rounded up, as long as it has fewer
# than 512 blocks; then its blocks loop (measured on cuBLAS 13.1: 315 of 315 smaller grids).
_REDUCE_BLOCK = (32, 16, 1)
_REDUCE_LOOPS_FROM = 512

# Kernels that put the parts of a split sum side by side along grid.z: CUTLASS 2.x by its source
# (GemmIdentityThreadblockSwizzle: z counts slices of k), xmma as measured (768 of 768 launches).
_PARTS_ALONG_Z = ("cutlass2x", "xmma")


def infer(kernels: Sequence[Kernel], sm_count: int | None) -> tuple[Kernel, ...]:
    """Fill in the split-K factor of every GEMM and where it comes from.

    The log is believed before the name, the name before the launch. Where none settles the factor it stays None.

    Args:
        kernels: Kernels of one module, in launch order.
        sm_count: Streaming multiprocessors of the GPU, None where the trace does not say.

    Returns:
        The same kernels in the same order.
    """
    result = []
    for index, kernel in enumerate(kernels):
        if kernel.parsed.role != "gemm":
            result.append(kernel)
            continue
        follower = kernels[index + 1] if index + 1 < len(kernels) else None
        reduce = follower if follower is not None and follower.parsed.role == "splitk_reduce" else None
        factor, source = _factor(kernel, reduce, sm_count)
        result.append(replace(kernel, split_k=factor, split_k_source=source) if source is not None else kernel)
    return tuple(result)


def _factor(kernel: Kernel, reduce: Kernel | None, sm_count: int | None) -> tuple[int | None, str | None]:
    if cuts_segments(kernel):
        # k is cut by the number of tiles, whatever the log's factor.
        parts = cut.parts if (cut := cuts(kernel)) is not None else None
        return (parts, "inferred") if parts is not None else (None, None)
    if kernel.algorithm is not None and kernel.algorithm.split_k is not None:
        return kernel.algorithm.split_k, "log"
    if kernel.parsed.split_k is not None:
        return kernel.parsed.split_k, "name"
    if kernel.parsed.split_k_form == "none":
        return 1, "name"
    inferred = _from_launch(kernel, reduce, sm_count)
    return (inferred, "inferred") if inferred is not None else (None, None)


def _from_launch(kernel: Kernel, reduce: Kernel | None, sm_count: int | None) -> int | None:
    if kernel.parsed.family in _PARTS_ALONG_Z:
        # More than one layer without a reduction after it may be a batch of products as well.
        return kernel.grid[2] if kernel.grid[2] == 1 or reduce is not None else None
    if kernel.parsed.family == "nvjet" and reduce is not None:
        return _blocks_per_tile(kernel, reduce, sm_count)
    return None


def _blocks_per_tile(kernel: Kernel, reduce: Kernel, sm_count: int | None) -> int | None:
    """Return blocks ÷ output tiles of an nvjet kernel, None unless exactly one factor of two or more fits.

    The reduction's grid tells how many rows and, within 16, how many columns the output has. Tiles are rounded up to
    whole clusters. Blocks that loop over tiles fill the GPU; a grid that large says nothing.
    """
    tile, cluster = kernel.parsed.tile, kernel.parsed.cluster
    if tile is None or not tile[0] or not tile[1] or cluster is None or len(cluster) < 2 or 0 in cluster:
        return None
    if reduce.block != _REDUCE_BLOCK or reduce.grid[0] * reduce.grid[1] >= _REDUCE_LOOPS_FROM:
        return None
    blocks = kernel.grid[0] * kernel.grid[1] * kernel.grid[2]
    if sm_count is None or blocks > sm_count - cluster[0] * cluster[1]:
        return None
    across = _whole(-(-reduce.grid[0] * 32 // tile[0]), cluster[0])
    most = _whole(-(-reduce.grid[1] * 16 // tile[1]), cluster[1])
    least = _whole(-(-((reduce.grid[1] - 1) * 16 + 1) // tile[1]), cluster[1])
    if across <= 0 or least <= 0:
        return None  # a reduction without a grid
    fitting = {
        blocks // (across * along)
        for along in range(least, most + 1, cluster[1])
        if blocks % (across * along) == 0 and blocks // (across * along) >= 2
    }
    return fitting.pop() if len(fitting) == 1 else None


def _whole(tiles: int, cluster: int) -> int:
    """Round up to a whole number of clusters."""
    return -(-tiles // cluster) * cluster
