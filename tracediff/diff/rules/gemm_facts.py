"""What the GEMM tables ask of two kernels, and the words of their reasons."""

from __future__ import annotations

import re

from tracediff.diff.result import Kernel
from tracediff.diff.rules.facts import change, differ, k_step

VECTOR_FAMILY = "cublas_gemv_misc"

# What cuBLAS's functions are called in a reason; the first word that the function's name holds decides.
_CALLED = {"gemmSN": "gemmSN", "gemmk1": "gemmk1", "largek": "large-k GEMM", "gemv": "gemv", "dot": "dot product"}

_TYPE_WORDS = {"accumulate": "the sum", "output": "the output"}


def both_unsplit(a: Kernel, b: Kernel) -> bool:
    """Whether both are known to sum k in one part."""
    return a.split_k == 1 and b.split_k == 1


def split_reason(a: Kernel, b: Kernel) -> str:
    """Say the split-K factors, as far as they are known."""
    if a.split_k is None and b.split_k is None:
        return "split-K factor not known"
    return change("split-K", a.split_k, b.split_k)


def unsplit_reason(a: Kernel, b: Kernel) -> str:
    """Say what changed around an unsplit sum."""
    if a.identity == b.identity:
        return "same kernel, unsplit"
    if differ(k_step(a), k_step(b)):
        return "unsplit, " + change("k-step", k_step(a), k_step(b))
    return "tile only, unsplit, same k-step"


def changed_type(a: Kernel, b: Kernel) -> str | None:
    """Return the first element type that both names state and that differs, as a change; None where none does."""
    if a.parsed.types is None or b.parsed.types is None:
        return None
    for word in ("a", "b", "accumulate", "output"):
        first, second = getattr(a.parsed.types, word), getattr(b.parsed.types, word)
        if differ(first, second):
            return change(f"type of {_TYPE_WORDS.get(word, word)}", first, second)
    return None


def compute_type(kernel: Kernel) -> str | None:
    """Type that cuBLASLt's log says products are summed in."""
    return kernel.algorithm.compute_type if kernel.algorithm is not None else None


def is_ffma(kernel: Kernel) -> bool:
    """Whether products are added one by one by the ordinary fp32 units."""
    return kernel.parsed.op_class == "ffma"


def adds_in_turn(kernel: Kernel) -> bool:
    """Whether cuBLASLt's customOption says that an xmma kernel's blocks add their parts by themselves, in turn."""
    return kernel.algorithm is not None and kernel.algorithm.custom_option == 1


def leading_numbers(kernel: Kernel) -> list[str]:
    """The first four numbers of gemmSN's template list; the two after them count the rows that one block takes."""
    return re.findall(r"[<,]\s*(?:\(int\))?(\d+)(?=\s*,)", kernel.parsed.name)[:4]


def is_vector_kernel(kernel: Kernel) -> bool:
    """Whether this is one of cuBLAS's kernels for very few rows or columns."""
    return kernel.parsed.family == VECTOR_FAMILY


def label(kernel: Kernel) -> str:
    """Name the algorithm in a word or two: `gemv`, `gemmSN`, `xmma GEMM`."""
    function = kernel.parsed.kernel or ""
    return next((called for word, called in _CALLED.items() if word in function), f"{kernel.parsed.family} GEMM")


def other_algorithm(a: Kernel, b: Kernel) -> str:
    """Say which algorithm became which."""
    if label(a) != label(b):
        return f"{label(a)} → {label(b)}"
    return change(label(a), a.parsed.kernel, b.parsed.kernel)
