"""Sums, means, norms and softmax: how many threads and blocks share one row's sum."""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.facts import change, same_block, same_name
from tracediff.diff.rules.rule import Rule, always

REDUCE_CUH = "PyTorch aten/src/ATen/native/cuda/Reduce.cuh"

# Kernels in which one block (or one warp) sums whole rows, so that more rows only mean more blocks.
ONE_BLOCK_PER_ROW = (
    "vectorized_layer_norm_kernel",
    "RowwiseMomentsCUDAKernel",
    "LayerNormForwardCUDAKernel",
    "cunn_SoftMaxForward",
    "softmax_warp_forward",
)
# One element decides, no rounding: the order of comparisons cannot change a maximum.
EXACT = ("ArgMaxOps", "ArgMinOps", "MaxNanFunctor", "MinNanFunctor", "MaxOps", "MinOps", "AndFunctor", "or_kernel")


def _is_torch_reduce(kernel: Kernel) -> bool:
    return "at::native::reduce_kernel<" in kernel.parsed.name


def _is_one_block_per_row(kernel: Kernel) -> bool:
    return any(name in kernel.parsed.name for name in ONE_BLOCK_PER_ROW)


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
        when=lambda a, b: same_name(a, b) and _is_torch_reduce(a),
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: change("block", a.block, b.block) if a.block != b.block else change("grid", a.grid, b.grid),
        source=REDUCE_CUH + ": another number of threads shares a row's sum; whether that shows is a matter of values",
    ),
    Rule(
        name="one block per row",
        when=lambda a, b: same_name(a, b) and _is_one_block_per_row(a) and same_block(a, b),
        verdict=Verdict.SAME_ORDER,
        reason="one block per row, rows only",
        source="PyTorch layer_norm_kernel.cu, SoftMax.cu: a block (or warp) sums whole rows",
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
        reason="another reduction kernel",
        source="not measured",
    ),
    Rule(
        name="other launch",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: change("block", a.block, b.block) if a.block != b.block else change("grid", a.grid, b.grid),
        source="how this kernel shares out a row is not known",
    ),
)
