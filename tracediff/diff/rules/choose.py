"""Find the table for a pair of kernels and apply it."""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules import gemm
from tracediff.diff.rules.attention import ATTENTION
from tracediff.diff.rules.elementwise import COPY, ELEMENTWISE
from tracediff.diff.rules.facts import agree, same_launch, same_name
from tracediff.diff.rules.one_sided import only_in
from tracediff.diff.rules.reduction import REDUCTION
from tracediff.diff.rules.rule import first_match

SAME_KERNEL = "same kernel, same launch"

_TABLES = {"elementwise": ELEMENTWISE, "copy": COPY, "attention": ATTENTION, "reduction": REDUCTION}


def decide(a: Kernel | None, b: Kernel | None) -> tuple[Verdict, str]:
    """Judge two kernels that stand for each other; None is no counterpart.

    A split-K reduction is judged here by its own name and launch alone, in `tracediff.diff.verdict` with its GEMM.
    """
    if b is None:
        if a is None:
            raise ValueError("a pair needs a kernel")
        return only_in("a", a)
    if a is None:
        return only_in("b", b)
    role = a.parsed.role
    if same_name(a, b) and same_launch(a, b) and _same_sum(a, b):
        return Verdict.SAME_KERNELS, SAME_KERNEL
    if role != b.parsed.role:
        roles = {role, b.parsed.role}
        if roles <= {"elementwise", "copy"}:
            return Verdict.SAME_ORDER, "never reduces"
        return Verdict.UNKNOWN, f"{role} → {b.parsed.role}"
    if role == "gemm":
        found = first_match(gemm.table(a, b), a, b)
    elif role in _TABLES:
        found = first_match(_TABLES[role], a, b)
    else:
        found = None
    return found or (Verdict.UNKNOWN, "other kernel or launch, family not known")


def _same_sum(a: Kernel, b: Kernel) -> bool:
    """Whether nothing known says that the same kernel sums another way."""
    if a.parsed.role != "gemm":
        return True
    if a.split_k != b.split_k:
        return False
    first, second = a.algorithm, b.algorithm
    if first is None or second is None:
        return True
    return (
        agree(first.k, second.k)
        and first.reduction_scheme == second.reduction_scheme
        and first.compute_type == second.compute_type
    )
