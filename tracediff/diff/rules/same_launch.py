"""Whether the same kernel with the same launch configuration is the same sum.

Mostly it is. Not where the cuts of a sum follow from the problem or from an argument of the launch: a name and a launch
configuration show neither. (`run_to_run` has the sums that are ordered by chance.)
"""

from __future__ import annotations

import re

from tracediff.diff.result import Kernel
from tracediff.diff.rules.attention import keys_cut_by_plan, varies_from_run_to_run
from tracediff.diff.rules.facts import differ, same_code
from tracediff.diff.rules.gemm_facts import is_split
from tracediff.diff.rules.k_cuts import cut_alike, cuts_segments

# A fixed number of blocks, as many as fit the GPU, shares out the k-steps of all tiles of the problem.
# Marlin: vLLM csrc/quantization/gptq_marlin/marlin_template.h, "stripes" of k-steps over all tiles. Tensile: its split
# (GlobalSplitU, stream-K) may be an argument of the launch, and parts may be added with atomics.
_CUT_BY_PROBLEM = frozenset({"marlin", "tensile"})
# What a function calls itself that cuts k, by a factor that is an argument.
_CUTS_K = re.compile(r"split_?k|stream_?k", re.IGNORECASE)


def same_sum(a: Kernel, b: Kernel) -> bool:
    """Whether two launches of one kernel with one launch configuration are certain to sum in one order.

    Args:
        a, b: Kernels of one name with equal launch configurations.
    """
    role = a.parsed.role
    if role in ("elementwise", "copy"):
        return True
    if not same_code(a, b):
        return False
    if role == "attention":
        return not varies_from_run_to_run(a) and not keys_cut_by_plan(a)
    if role == "gemm":
        return not cut_by_problem(a, b) and not _stated_otherwise(a, b)
    return True


def cut_by_problem(a: Kernel, b: Kernel) -> bool:
    """Whether two launches of one GEMM kernel may cut k, or add its parts, in ways that only the problem tells."""
    kernel = a.parsed
    if kernel.family in _CUT_BY_PROBLEM or kernel.split_k_form == "stream-k":
        return True
    if None in (a.split_k, b.split_k) and (is_split(a) or _CUTS_K.search(kernel.kernel or "")):
        return True
    if cuts_segments(a):
        return not cut_alike(a, b)
    # Parts of an xmma kernel are added in turn or by a tree, as cuBLASLt's customOption says; two parts have one order.
    if kernel.family != "xmma" or (a.algorithm is not None and b.algorithm is not None):
        return False
    return not {a.split_k, b.split_k} <= {1, 2}


def _stated_otherwise(a: Kernel, b: Kernel) -> bool:
    """Whether the split-K factor or cuBLASLt's log says that the sum is another one."""
    if a.split_k != b.split_k:
        return True
    first, second = a.algorithm, b.algorithm
    if first is None or second is None:
        return False
    return (
        differ(first.k, second.k)
        or first.reduction_scheme != second.reduction_scheme
        or first.compute_type != second.compute_type
        or (a.parsed.family == "xmma" and first.custom_option != second.custom_option)
    )
