"""What rules ask of a kernel, in the rules' own words. None is "the trace does not say", never "no"."""

from __future__ import annotations

from tracediff.diff.result import Kernel
from tracediff.text import sizes_in_words


def same_name(a: Kernel, b: Kernel) -> bool:
    """Whether both have one name, however each profiler spells it."""
    return a.identity == b.identity


def same_block(a: Kernel, b: Kernel) -> bool:
    """Whether both run the same threads per block."""
    return a.block == b.block


def same_launch(a: Kernel, b: Kernel) -> bool:
    """Whether both have the same launch configuration."""
    return a.grid == b.grid and a.block == b.block and a.shared_memory_bytes == b.shared_memory_bytes


def same_code(a: Kernel, b: Kernel) -> bool:
    """Whether nothing tells that two kernels of one name are other code.

    Triton's constants do not show in a name, nor do all variants of cuDNN's generator; the number of registers may.
    """
    return same_name(a, b) and not (a.registers and b.registers and a.registers != b.registers)


def launch_change(a: Kernel, b: Kernel) -> str:
    """Say what differs between two launches of one kernel: `block 128×1×1 → 256×1×1`."""
    for what, first, second in (
        ("block", a.block, b.block),
        ("grid", a.grid, b.grid),
        ("shared memory", a.shared_memory_bytes, b.shared_memory_bytes),
        ("registers", a.registers, b.registers),
    ):
        if first != second:
            return change(what, first, second)
    return "same launch"


def k_step(kernel: Kernel) -> int | None:
    """Elements of k per main-loop step: from the name, else from cuBLASLt's log."""
    if kernel.parsed.tile is not None and kernel.parsed.tile[2] is not None:
        return kernel.parsed.tile[2]
    return kernel.algorithm.k_step if kernel.algorithm is not None else None


def problem_k(kernel: Kernel) -> int | None:
    """Length of the sum, as cuBLASLt's log states it."""
    return kernel.algorithm.k if kernel.algorithm is not None else None


def reduction_scheme(kernel: Kernel) -> str | None:
    """How cuBLASLt adds the parts of a split sum (`COMPUTE_TYPE`, `INPLACE`, `OUTPUT_TYPE`)."""
    return kernel.algorithm.reduction_scheme if kernel.algorithm is not None else None


def warps_along_k(kernel: Kernel) -> int | None:
    """Warps of one block that share a sum; each adds its own part of k."""
    if kernel.parsed.sliced_k is not None:
        return kernel.parsed.sliced_k
    warps = kernel.parsed.warps
    return warps[2] if warps is not None and len(warps) == 3 else None


def split_part(kernel: Kernel) -> int | None:
    """Elements of k in one part of a split sum: whole k-steps, shared out evenly, rounded up."""
    k, step, parts = problem_k(kernel), k_step(kernel), kernel.split_k
    if k is None or step is None or parts is None:
        return None
    steps = -(-k // step)
    return -(-steps // parts) * step


def differ(a: object, b: object) -> bool:
    """Whether two facts are both known and not the same."""
    return a is not None and b is not None and a != b


def agree(a: object, b: object) -> bool:
    """Whether two facts are both known and the same."""
    return a is not None and a == b


def change(what: str, a: object, b: object) -> str:
    """Write a change as readers see it everywhere: `split-K 3 → 2`."""
    return f"{what} {_plain(a)} → {_plain(b)}"


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return sizes_in_words(value)
    return "?" if value is None else str(value)
