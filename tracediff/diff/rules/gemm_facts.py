"""What the GEMM tables ask of two kernels, and the words of their reasons."""

from __future__ import annotations

import re
from math import ceil

from tracediff.diff.result import Kernel
from tracediff.diff.rules.facts import agree, change, differ, k_step, launch_change, problem_k, same_code, same_launch

VECTOR_FAMILY = "cublas_gemv_misc"

# What cuBLAS's functions are called in a reason; the first word that the function's name holds decides.
_CALLED = {"gemmSN": "gemmSN", "gemmk1": "gemmk1", "largek": "large-k GEMM", "gemv": "gemv", "dot": "dot product"}

# Block sizes follow from the type alone (vLLM model_executor/layers/batch_invariant.py).
_FIXED_TILE = frozenset({"matmul_kernel_persistent", "bmm_kernel"})

# Elements in 128 bytes.
_CACHE_LINE = {"R_32F": 32, "R_16F": 64, "R_16BF": 64}

_TYPE_WORDS = {"a": "operand A", "b": "operand B", "accumulate": "the sum", "output": "the output"}


def both_unsplit(a: Kernel, b: Kernel) -> bool:
    """Whether both are known to sum k in one part."""
    return a.split_k == 1 and b.split_k == 1


def is_split(kernel: Kernel) -> bool:
    """Whether k is certain to be split, even where the factor is not known."""
    if kernel.split_k is not None:
        return kernel.split_k > 1
    return kernel.parsed.split_k_form in ("stated", "parallel", "serial")


def split_reason(a: Kernel, b: Kernel) -> str:
    """Say the split-K factors, as far as they are known."""
    if a.split_k is None and b.split_k is None:
        return "split-K factor not known"
    if is_split(a) and is_split(b):
        return change("split-K", a.split_k, b.split_k)
    first, second = ("2 or more" if is_split(x) and x.split_k is None else x.split_k for x in (a, b))
    return change("split-K", first, second)


def split_in_both(kernel: Kernel) -> str:
    """Say the split-K factor that two kernels have in common."""
    return "unsplit in both" if kernel.split_k == 1 else f"split-K {kernel.split_k} in both"


def unsettled_reason(a: Kernel, b: Kernel) -> str:
    """Say what two kernels of one factor have in common, and what keeps their order unknown."""
    if a.parsed.tile != b.parsed.tile:
        return f"{split_in_both(a)}, {change('tile', a.parsed.tile, b.parsed.tile)}"
    return f"{split_in_both(a)}, {'another variant' if a.split_k == 1 else 'order of the parts not known'}"


def unsplit_reason(a: Kernel, b: Kernel) -> str:
    """Say what changed around an unsplit sum."""
    if a.identity == b.identity:
        return "same kernel, unsplit"
    if differ(k_step(a), k_step(b)):
        return "unsplit, " + change("k-step", k_step(a), k_step(b))
    return "tile only, unsplit, same k-step"


def both_cutlass(a: Kernel, b: Kernel) -> bool:
    """Whether both are cuBLAS's copies of CUTLASS 2.x with a tile in the name."""
    return all(x.parsed.family == "cutlass2x" and x.parsed.tile is not None for x in (a, b))


def cutlass_part(kernel: Kernel) -> int | None:
    """Elements of k in one part of CUTLASS's split sum, None unless the grid bears it out."""
    log = kernel.algorithm
    line = _CACHE_LINE.get(log.type_a or "") if log is not None else None
    k, parts = problem_k(kernel), kernel.split_k
    if kernel.parsed.family != "cutlass2x" or line is None or not k or not parts:
        return None
    part = ceil(ceil(k / parts) / line) * line
    return part if ceil(k / part) == kernel.grid[2] else None


def steps_fit(a: Kernel, b: Kernel) -> bool:
    """Whether CUTLASS's k-steps let both kernels add the same products at once.

    A kernel adds what is left of k beyond whole k-steps first, so two k-steps are alike where (each part of) k is a
    whole number of both. Names of cuBLAS's older copies of CUTLASS leave the k-step out; it is the same in all of them.
    """
    first, second = k_step(a), k_step(b)
    if agree(first, second):
        return True
    if first is None and second is None:
        return both_cutlass(a, b)
    k, parts = problem_k(a), a.split_k
    if first is None or second is None or k is None or parts is None:
        return False
    return k % (parts * first) == 0 and k % (parts * second) == 0


def instruction_depth(kernel: Kernel) -> int | None:
    """Products that one matrix instruction adds to an element."""
    mma = kernel.parsed.mma
    return mma[2] if mma is not None and len(mma) == 3 else None


def keeps_type(kernel: Kernel) -> bool:
    """Whether sums are known to be written in the type that they are kept in, so that partial sums are not rounded."""
    log = kernel.algorithm
    return log is not None and log.type_d == "R_32F"


def narrows_output(kernel: Kernel) -> bool:
    """Whether sums are known to be rounded to 16 or 8 bits where they are written."""
    log = kernel.algorithm
    return log is not None and log.type_d is not None and log.type_d.startswith(("R_16", "R_8"))


def changed_type(a: Kernel, b: Kernel) -> str | None:
    """Return the first element type that both names state and that differs, as a change; None where none does."""
    if a.parsed.types is None or b.parsed.types is None:
        return None
    for word in ("a", "b", "accumulate", "output"):
        first, second = getattr(a.parsed.types, word), getattr(b.parsed.types, word)
        if differ(first, second):
            return change(f"type of {_TYPE_WORDS[word]}", first, second)
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


def walks_k_in_order(kernel: Kernel) -> bool:
    """Whether this is a Triton product of vLLM's batch-invariant mode: one block walks all of k for a tile."""
    return kernel.parsed.family == "triton_user" and kernel.parsed.kernel in _FIXED_TILE


def triton_reason(a: Kernel, b: Kernel) -> str:
    """Say what changed between two Triton kernels of unknown block sizes."""
    if a.identity != b.identity:
        if differ(a.parsed.tile, b.parsed.tile):
            return change("Triton GEMM, tile", a.parsed.tile, b.parsed.tile)
        return "a different Triton GEMM"
    if same_launch(a, b) and same_code(a, b):
        return "same Triton GEMM, same launch; an argument may split k"
    return f"Triton GEMM, {launch_change(a, b)}"


def label(kernel: Kernel) -> str:
    """Name the algorithm in a word or two: `gemv`, `gemmSN`, `xmma GEMM`."""
    function = kernel.parsed.kernel or ""
    return next((called for word, called in _CALLED.items() if word in function), f"{kernel.parsed.family} GEMM")


def other_algorithm(a: Kernel, b: Kernel) -> str:
    """Say which algorithm became which."""
    if label(a) != label(b):
        return f"{label(a)} → {label(b)}"
    return change(label(a), a.parsed.kernel, b.parsed.kernel)
