"""Kernels that only one trace has."""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict

_WORDS = {"gemm": "GEMM", "splitk_reduce": "split-K reduction", "reduction": "reduction", "attention": "attention"}


def one_sided(a: Kernel | None, b: Kernel | None) -> tuple[Verdict, str]:
    """Judge a kernel without a counterpart; a split-K reduction is judged with its GEMM instead.

    Raises:
        ValueError: There is no kernel at all.
    """
    side, kernel = ("b", b) if a is None else ("a", a)
    if kernel is None:
        raise ValueError("a pair needs a kernel")
    role = kernel.parsed.role
    if role == "copy":
        return Verdict.SAME_ORDER, f"copy only in {side}, never reduces"
    if role == "elementwise":
        # It never reduces, but whether the other trace computes the same elsewhere is not known.
        return Verdict.UNKNOWN, f"elementwise kernel only in {side}"
    return Verdict.UNKNOWN, f"{_WORDS.get(role, 'kernel')} only in {side}"
