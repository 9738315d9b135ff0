"""Kernels that only one trace has."""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict


def only_in(side: str, kernel: Kernel) -> tuple[Verdict, str]:
    """Judge a kernel without a counterpart.

    Args:
        side: `a` or `b`, the trace that has it.
        kernel: The kernel; a split-K reduction is judged with its GEMM instead.
    """
    role = kernel.parsed.role
    if role == "copy":
        return Verdict.SAME_ORDER, f"copy only in {side}, never reduces"
    if role == "elementwise":
        # It never reduces, but whether the other trace computes the same elsewhere is not known.
        return Verdict.UNKNOWN, f"elementwise kernel only in {side}"
    words = {"gemm": "GEMM", "splitk_reduce": "split-K reduction", "reduction": "reduction", "attention": "attention"}
    return Verdict.UNKNOWN, f"{words.get(role, 'kernel')} only in {side}"
