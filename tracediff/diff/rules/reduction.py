"""Sums, means, norms and softmax: how many threads and blocks share one row's sum."""

from __future__ import annotations

from collections.abc import Iterable

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.across_gpus import ONE_STAGE
from tracediff.diff.rules.elementwise import element_types
from tracediff.diff.rules.facts import change, launch_change, same_block, same_name
from tracediff.diff.rules.rule import Rule, always

REDUCE_CUH = "PyTorch aten/src/ATen/native/cuda/Reduce.cuh"

# Kernels in which all threads of a block sum one row, so that more rows only mean more blocks.
BLOCK_PER_ROW = (
    "vectorized_layer_norm_kernel",
    "RowwiseMomentsCUDAKernel",
    "LayerNormForwardCUDAKernel",
    "cunn_SoftMaxForward",
    "rms_norm_kernel",
    "rms_norm_static_fp8_quant_kernel",
    "rms_norm_dynamic_per_token_quant_kernel",
)
# Kernels in which one warp sums a row: the other warps of its block work on other rows.
WARP_PER_ROW = ("softmax_warp_forward", "fusedQKNormRopeKernel")
# One element decides, no rounding: the order of comparisons cannot change a maximum.
EXACT = ("ArgMaxOps", "ArgMinOps", "MaxNanFunctor", "MinNanFunctor", "MaxOps", "MinOps", "AndFunctor", "or_kernel")


_WARP = 32
_MOST_ROWS_OF_A_BLOCK = 16  # 512 threads, of which a row of a warp's length or more has 32


def _is_torch_reduce(kernel: Kernel) -> bool:
    return "at::native::reduce_kernel<" in kernel.parsed.name


def _sums_by_block(kernel: Kernel) -> bool:
    return any(word in kernel.parsed.name for word in BLOCK_PER_ROW)


def _sums_by_warp(kernel: Kernel) -> bool:
    return any(word in kernel.parsed.name for word in WARP_PER_ROW)


def _same_function(a: Kernel, b: Kernel) -> bool:
    return same_name(a, b) or (a.parsed.kernel is not None and a.parsed.kernel == b.parsed.kernel)


def _other_sharing(a: Kernel, b: Kernel) -> bool:
    """Whether another number of threads, or of blocks, is certain to share a row of PyTorch's reduce_kernel."""
    # Threads are block.x or block.y of the row, by its strides, with a fixed product: where both change, the row's do.
    return (a.block[0] != b.block[0] and a.block[1] != b.block[1]) or (same_block(a, b) and a.grid[1:] != b.grid[1:])


def _sharing_changed(a: Kernel, b: Kernel) -> str:
    """Say what changed in how PyTorch shares out a row: `threads per row 128 → 64`, where that is known."""
    threads = tuple(_threads_of_a_row(kernel) for kernel in (a, b))
    if None in threads or max(a.block[0], b.block[0]) <= _WARP or threads[0] == threads[1]:
        return launch_change(a, b)
    return change("threads per row", *threads)


def _threads_of_a_row(kernel: Kernel) -> int | None:
    """Threads of a block that share a row of contiguous elements: block.x, unless block.y may share it too.

    block.y is the largest power of two up to the number of rows, at most 16. Where it shared a row, each block of the
    grid would have one row, and grid.x would be the number of rows: only where that does not fit is block.x all.
    """
    width, height, _ = kernel.block
    rows = kernel.grid[0]
    shared_too = height > 1 and min(1 << (rows.bit_length() - 1), _MOST_ROWS_OF_A_BLOCK) == height
    return None if shared_too or kernel.grid[1:] != (1, 1) else width


def _block_changed(a: Kernel, b: Kernel) -> str:
    """Say how many threads share a row where a block has one row."""
    if a.block[1:] == b.block[1:] == (1, 1):
        return change("threads per row", a.block[0], b.block[0])
    return launch_change(a, b)


REDUCTION = (
    Rule(
        name="exact reduction",
        when=lambda a, b: all(_is_torch_reduce(x) and any(word in x.parsed.name for word in EXACT) for x in (a, b)),
        verdict=Verdict.SAME_ORDER,
        reason="maximum or minimum: nothing is rounded",
        source="comparing rounds nothing; ties go to the lowest index in " + REDUCE_CUH,
    ),
    Rule(
        name="torch reduce, same threads per row",
        when=lambda a, b: same_name(a, b) and _is_torch_reduce(a) and same_block(a, b) and a.grid[1:] == b.grid[1:],
        verdict=Verdict.SAME_ORDER,
        reason="same block, rows only",
        source=REDUCE_CUH + ": block.x threads and grid.y blocks share a sum, grid.x counts rows",
    ),
    Rule(
        name="torch reduce, other threads per row",
        when=lambda a, b: same_name(a, b) and _is_torch_reduce(a) and _other_sharing(a, b),
        verdict=Verdict.ORDER_CHANGED,
        reason=_sharing_changed,
        source=REDUCE_CUH
        + ": another number of threads shares a row's sum. A sum that is rounded to 16 bits afterwards"
        " seldom shows it, see above",
    ),
    Rule(
        name="one block per row",
        when=lambda a, b: same_name(a, b) and _sums_by_block(a) and same_block(a, b),
        verdict=Verdict.SAME_ORDER,
        reason="one block per row, rows only",
        source="PyTorch layer_norm_kernel.cu, SoftMax.cu, vLLM layernorm_kernels.cu: a block sums whole rows",
    ),
    Rule(
        name="one block per row, other threads",
        when=lambda a, b: _same_function(a, b) and _sums_by_block(a) and not same_block(a, b),
        verdict=Verdict.ORDER_CHANGED,
        reason=_block_changed,
        source="the same: thread t sums elements t, t + threads, …, and the threads' sums are added",
    ),
    Rule(
        name="one warp per row",
        when=lambda a, b: same_name(a, b) and _sums_by_warp(a),
        verdict=Verdict.SAME_ORDER,
        reason="one warp per row, rows only",
        source="PyTorch PersistentSoftmax.cuh; vLLM fused_qknorm_rope_kernel.cu: the template says what a warp sums",
    ),
    Rule(
        name="all-reduce in one stage",
        when=lambda a, b: same_name(a, b) and ONE_STAGE in a.parsed.name,
        verdict=Verdict.SAME_ORDER,
        reason="every GPU adds all GPUs' values in one order, rows only",
        source="vLLM csrc/custom_all_reduce.cuh, cross_device_reduce_1stage: packed_reduce walks the ranks in order",
    ),
    Rule(
        name="attention parts combined",
        when=lambda a, b: same_name(a, b) and a.parsed.split_k_form == "split-kv" and same_block(a, b),
        verdict=Verdict.SAME_ORDER,
        reason="combines the parts of split-KV, rows only",
        source="FlashAttention flash_fwd_kernel.h, combine_attn_seqk_parallel: a block adds all parts of its rows in"
        " order; how many parts there are is judged at the attention kernel",
    ),
    Rule(
        name="other kernel",
        when=lambda a, b: not same_name(a, b),
        verdict=Verdict.UNKNOWN,
        reason="a different reduction kernel",
        source="not measured",
    ),
    Rule(
        name="other launch",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=launch_change,
        source="how this kernel shares out a row is not known",
    ),
)


def seldom_shows(kernels: Iterable[Kernel]) -> bool:
    """Whether a module rounds to 16 bits, so that another order of an fp32 sum inside it seldom shows in its output."""
    return any(element_types(kernel) & {"f16", "bf16"} for kernel in kernels)
