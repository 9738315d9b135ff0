"""What a kernel's function name tells of its role, for libraries whose names hold words and no configuration.

A kernel that sums must never pass for one that does not. So words of attention, of sums and of products are looked for
before those of copies and elementwise work: `fusedQKNormRopeKernel` takes a norm, `VecQuant4MatMulKernel` multiplies
matrices. A name without a known word has role `other`.
"""

import re

# The first phrase found anywhere in the lower-case name decides, so narrower ones come first.
_PHRASES = (
    ("paged_attention_v2_reduce", "reduction"),
    ("mergestate", "reduction"),
    ("merge_state", "reduction"),
    ("merge_attn_states", "reduction"),
    ("reduce_segments", "reduction"),
    ("reshape_and_cache", "copy"),
    ("concat_and_cache", "copy"),
    ("append_paged", "copy"),
    ("appendpaged", "copy"),
    ("paged_attention", "attention"),
    ("flash_attn", "attention"),
    ("attn_fwd", "attention"),
    ("attention", "attention"),
    ("fmha", "attention"),
    ("_mha", "attention"),
    ("prefill", "attention"),
    ("decode", "attention"),
    ("softmax", "reduction"),
    ("logsumexp", "reduction"),
    ("cross_entropy", "reduction"),
    ("topk", "reduction"),
    ("allreduce", "reduction"),
    ("cross_device_reduce", "reduction"),
    ("devicescan", "reduction"),
    ("devicesegmented", "reduction"),
    ("mul_mat", "gemm"),
    ("matmul", "gemm"),
    ("matvec", "gemm"),
    ("gemm", "gemm"),
    ("gemv", "gemm"),
)
# Words as underscores and capitals divide a name: `fusedQKNormRope` is fused, qk, norm, rope.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SUMS = frozenset(
    {"sum", "reduce", "reduction", "mean", "var", "std", "welford", "moments", "loss", "scan", "histogram"}
    | {"combine", "finalize", "unpermute"}
)
_PRODUCTS = frozenset({"mm", "bmm", "dot"})
_NEVER_SUM = (
    ("copy_blocks", "copy"),
    ("copy", "copy"),
    ("gather", "copy"),
    ("transpose", "copy"),
    ("act_and_mul", "elementwise"),
    ("silu_and_mul", "elementwise"),
    ("gelu", "elementwise"),
    ("rotary", "elementwise"),
    ("rope", "elementwise"),
    ("quant", "elementwise"),
)


def role_of(function: str) -> str:
    """Return the role that a function's name tells, `other` where it tells none."""
    lowered = function.lower()
    for phrase, role in _PHRASES:
        if phrase in lowered:
            return role
    words = [word.lower() for word in _WORD.findall(function)]
    if any(word in _SUMS or word.endswith(("norm", "sum", "reduce")) or word.startswith("normaliz") for word in words):
        return "reduction"
    if any(word in _PRODUCTS or word.endswith("dot") for word in words):
        return "gemm"
    return next((role for phrase, role in _NEVER_SUM if phrase in lowered), "other")
