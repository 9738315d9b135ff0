"""Sums whose order is decided while a kernel runs: its bits may vary from run to run on the same input.

Blocks or threads add into one place as they finish (atomicAdd), or take up what their neighbours have summed so far.
Neither a name nor a launch configuration shows in which order that happens, so equal ones promise nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.rule import Rule

# Products with quantized weights whose blocks add their parts of k with atomicAdd: GPTQ-for-LLaMa quant_cuda_kernel.cu,
# exllamav2 and vLLM csrc/quantization/gptq/q_gemm.cu, exllama cuda_func/q4_matmul.cu, vLLM csrc/moe/moe_wna16.cu.
_PRODUCTS = ("vecquant", "gemm_half_q_half", "q4_matmul_kernel", "moe_wna16_gemm_kernel")
# PyTorch's ScatterGatherKernel.cu, Indexing.cu, SummaryOps.cu: atomics add or multiply floating-point numbers.
_SCATTERS = ("_scatter_gather_elementwise_kernel", "indexFuncSmallIndex", "indexFuncLargeIndex")
_ROUNDING_REDUCTIONS = ("ReduceAdd", "ReduceMultiply")
_WEIGHTED_HISTOGRAM = re.compile(r"kernelHistogram1D<(?:float|double|c10::Half|c10::BFloat16)\b")
# CUB's single-pass scan: a block takes the running sum of whichever blocks before it are done ("decoupled look-back").
_FLOAT_SCAN = re.compile(
    r"DeviceScan(?:ByKey)?Kernel<.*\b(?:float|double|Half|BFloat16|__half|__nv_bfloat16)\b", re.DOTALL
)
# Regular expressions read names of bounded length.
_MOST_CHARACTERS = 4000
_ATOMIC_WORD = re.compile(r"atomic|scatter_?add|index_?add", re.IGNORECASE)

MEASURED = (
    "profiles/tokens/determinism.json: scatter_add, index_add, weighted bincount and cumsum varied over 30 repeats"
)


def adds_as_blocks_finish(kernel: Kernel) -> bool:
    """Whether parts of one sum are added in the order in which blocks or threads happen to finish."""
    return _adds_as_blocks_finish(kernel.parsed.name, kernel.parsed.kernel)


@lru_cache(maxsize=4096)
def _adds_as_blocks_finish(name: str, function: str | None) -> bool:
    name = name[:_MOST_CHARACTERS]
    function = function or name
    lowered = function.lower()
    if any(word in lowered for word in _PRODUCTS) or _ATOMIC_WORD.search(function):
        return True
    if any(word in function for word in _SCATTERS):
        return any(word in name for word in _ROUNDING_REDUCTIONS)
    return bool(_WEIGHTED_HISTOGRAM.search(name) or _FLOAT_SCAN.search(name))


def goes_backward(kernel: Kernel) -> bool:
    """Whether this is attention's backward pass, whose blocks add into dQ as they finish unless told otherwise."""
    return kernel.parsed.role == "attention" and kernel.parsed.detail("direction") == "bprop"


RUN_TO_RUN = (
    Rule(
        name="parts added as blocks finish",
        when=lambda a, b: adds_as_blocks_finish(a) or adds_as_blocks_finish(b),
        verdict=Verdict.UNKNOWN,
        reason="a sum in whatever order blocks finish (may vary from run to run)",
        source=f"atomicAdd in GPTQ-for-LLaMa, exllama, vLLM q_gemm.cu and moe_wna16.cu; {MEASURED}",
    ),
    Rule(
        name="attention's backward pass",
        when=lambda a, b: goes_backward(a) or goes_backward(b),
        verdict=Verdict.UNKNOWN,
        reason="backward attention, whose dQ may vary from run to run",
        source="FlashAttention flash_bwd_kernel.h: dQ is added with atomicAdd unless `deterministic` is asked for,"
        " which is no part of the name",
    ),
)
