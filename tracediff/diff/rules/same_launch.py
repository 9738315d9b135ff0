"""Whether the same kernel with the same launch configuration is the same sum.

Mostly it is. Not where the cuts of a sum follow from the problem, from an argument of the launch or from chance: a name
and a launch configuration show none of these.
"""

from __future__ import annotations

from tracediff.diff.result import Kernel
from tracediff.diff.rules.attention import varies_from_run_to_run
from tracediff.diff.rules.facts import differ
from tracediff.diff.rules.gemm_facts import adds_atomically, is_split
from tracediff.diff.rules.k_cuts import cut_alike, cuts_segments

# A fixed number of blocks, as many as fit the GPU, shares out the k-steps of all tiles of the problem.
# Marlin: `marlin_template.h`, "stripes".
_CUT_BY_PROBLEM = frozenset({"marlin"})
# A plan says which block works on which keys: the tile schedulers' metadata of FlashMLA and FlashAttention 3, and
# `partition_kv` of flashinfer's batched kernels.
_PLANNED = {"flashmla": "", "flash_attn3": "", "flashinfer": "Batch"}


def same_sum(a: Kernel, b: Kernel) -> bool:
    """Whether two launches of one kernel with one launch configuration are certain to sum in one order.

    Args:
        a, b: Kernels of one name with equal launch configurations.
    """
    role = a.parsed.role
    if role == "attention":
        return not varies_from_run_to_run(a) and not _keys_cut_by_plan(a)
    if role == "gemm":
        return not cut_by_problem(a, b) and not _stated_otherwise(a, b)
    return True


def cut_by_problem(a: Kernel, b: Kernel) -> bool:
    """Whether two launches of one GEMM kernel may cut k, or add its parts, in ways that only the problem tells."""
    kernel = a.parsed
    if kernel.family in _CUT_BY_PROBLEM or kernel.split_k_form == "stream-k" or adds_atomically(a):
        return True
    if is_split(a) and None in (a.split_k, b.split_k):
        return True
    if cuts_segments(a):
        return not cut_alike(a, b)
    # Parts of an xmma kernel are added in turn or by a tree, as cuBLASLt's customOption says; two parts have one order.
    if kernel.family != "xmma" or (a.algorithm is not None and b.algorithm is not None):
        return False
    return not {a.split_k, b.split_k} <= {1, 2}


def _keys_cut_by_plan(kernel: Kernel) -> bool:
    beginning = _PLANNED.get(kernel.parsed.family)
    if beginning is None or kernel.parsed.split_k_form == "none":
        return False
    return (kernel.parsed.kernel or beginning).startswith(beginning)


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
