"""How a module took its sum, in words, and what the rules predict between two row counts."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.diff.align import align
from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.facts import k_step
from tracediff.diff.rules.gemm_facts import label
from tracediff.diff.verdict import judge_row
from tracediff.text import sizes_in_words


def order_in_words(kernels: Sequence[Kernel]) -> str | None:
    """Say how the sum is taken: the first product, attention or reduction among the kernels; None without any."""
    for kernel in kernels:
        role = kernel.parsed.role
        if role == "gemm":
            return _product(kernel)
        if role == "attention":
            return _attention(kernel)
        if role == "reduction":
            return f"reduction, block {sizes_in_words(kernel.block)}"
    return (kernels[0].parsed.kernel or kernels[0].parsed.family) if kernels else None


def predicted(a: Sequence[Kernel], b: Sequence[Kernel]) -> tuple[Verdict, str]:
    """Return what the rules say of two runs of one module, and why."""
    _, verdict, reason = judge_row(align(a, b))
    return verdict, reason


def _product(kernel: Kernel) -> str:
    step = k_step(kernel)
    split = "unsplit" if kernel.split_k == 1 else f"split-K {'?' if kernel.split_k is None else kernel.split_k}"
    return ", ".join([label(kernel), split, *([] if step is None else [f"k-step {step}"])])


def _attention(kernel: Kernel) -> str:
    if kernel.parsed.split_k_form == "split-kv":
        return f"{kernel.parsed.family}, split-KV {kernel.grid[1]}"
    return kernel.parsed.family
