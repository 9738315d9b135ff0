"""Find the table for a pair of kernels and apply it."""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules import gemm
from tracediff.diff.rules.across_gpus import ACROSS_GPUS
from tracediff.diff.rules.attention import ATTENTION
from tracediff.diff.rules.elementwise import COPY, ELEMENTWISE
from tracediff.diff.rules.facts import same_launch, same_name
from tracediff.diff.rules.one_sided import one_sided
from tracediff.diff.rules.reduction import REDUCTION
from tracediff.diff.rules.rule import Rule, first_match
from tracediff.diff.rules.run_to_run import RUN_TO_RUN
from tracediff.diff.rules.same_launch import same_sum

SAME_KERNEL = "same kernel, same launch"
# Operators of a CPU: which code runs at which size is not in their trace.
NO_LAUNCH = "same name, no launch configuration recorded"

# Asked before anything else: equal names and launches promise nothing there.
_DOUBTS = (*RUN_TO_RUN, *ACROSS_GPUS)
_TABLES: dict[str, tuple[Rule, ...]] = {
    "elementwise": ELEMENTWISE,
    "copy": COPY,
    "attention": ATTENTION,
    "reduction": REDUCTION,
}


def decide(a: Kernel | None, b: Kernel | None) -> tuple[Verdict, str]:
    """Judge two aligned kernels; None where the other trace has no counterpart.

    A split-K reduction is judged here by its own name and launch alone, in `tracediff.diff.verdict` with its GEMM.
    """
    if a is None or b is None:
        return one_sided(a, b)
    if same_name(a, b) and not any((*a.grid, *b.grid)):
        return Verdict.UNKNOWN, NO_LAUNCH
    doubt = first_match(_DOUBTS, a, b)
    if doubt is None and same_name(a, b) and same_launch(a, b) and same_sum(a, b):
        return Verdict.SAME_KERNELS, SAME_KERNEL
    rule = doubt or _from_table(a, b)
    if rule is None:
        return Verdict.UNKNOWN, _no_rule(a, b)
    return rule.verdict, rule.why(a, b)


def _no_rule(a: Kernel, b: Kernel) -> str:
    if a.parsed.role != b.parsed.role:
        return f"{a.parsed.role} → {b.parsed.role}"
    return "a different kernel or launch, family not known"


def deciding_rule(a: Kernel, b: Kernel) -> Rule | None:
    """Return the rule for two kernels that are not the same kernel; None where no rule is about them."""
    return first_match(_DOUBTS, a, b) or _from_table(a, b)


def _from_table(a: Kernel, b: Kernel) -> Rule | None:
    if a.parsed.role != b.parsed.role:
        return None
    if a.parsed.role == "gemm":
        return first_match(gemm.table(a, b), a, b)
    return first_match(_TABLES.get(a.parsed.role, ()), a, b)
