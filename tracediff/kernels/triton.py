"""Triton kernels: torch inductor's generated ones, and those that serving libraries write by hand.

    triton_{poi|red|per|tem|mm|bmm|for|spl}_fused_<ops>_<n>      inductor
    triton__0d1d2d3                                              torch 2.0: argument kinds only

Source: torch/_inductor (`kernel_category`, `get_fused_kernel_name`). Verified: the kind and the fused operations.
**There is no tile and no type in the name**, and the trailing number counts kernels of one graph, so it is not
stable between builds.

- poi: pointwise, role elementwise. red, per: (persistent) reduction, role reduction. spl: split scan, role reduction.
- tem, mm, bmm: a template, role gemm (attention where the operations say so). for: foreach, role elementwise.

Hand-written kernels (family `triton_user`) have the name of their Python function and nothing else. They are known by
it: a bare lower-case identifier that ends in `_kernel`, which no demangled C++ name is (inferred), or one of the
well-known functions of vLLM, SGLang and flash-linear-attention listed here.

Details: `ops` (fused operations as printed), `index`.
"""

import re

from tracediff.kernels.function_words import role_of
from tracediff.kernels.model import Detail, KernelName, make_kernel_name
from tracediff.kernels.spelling import Spelling

_ROLES = {
    "poi": "elementwise",
    "red": "reduction",
    "per": "reduction",
    "spl": "reduction",
    "tem": "gemm",
    "mm": "gemm",
    "bmm": "gemm",
    "for": "elementwise",
    "unk": "other",
}

_PYTHON_KERNEL = re.compile(r"[a-z_][a-z0-9_]{0,200}_kernel")

# Functions of vLLM, SGLang and flash-linear-attention, by how their names begin.
USER_KERNELS = {
    "fused_moe_kernel": "gemm",
    "_matmul_ogs": "gemm",
    "kernel_unified_attention": "attention",
    "kernel_paged_attention": "attention",
    "_fwd_grouped_kernel_stage1": "attention",
    "_fwd_kernel_stage1": "attention",
    "_fwd_kernel_stage2": "reduction",
    "_fwd_kernel": "attention",
    "_attn_fwd": "attention",
    "reduce_segments": "reduction",
    "merge_attn_states_kernel": "reduction",
    "fused_recurrent_": "attention",
    "chunk_gated_delta_rule_": "attention",
    "chunk_fwd_kernel": "attention",
    "chunk_scaled_dot_kkt": "attention",
    "fused_gdn_gating": "elementwise",
    "layer_norm_fwd": "reduction",
    "l2norm_fwd": "reduction",
    "_layer_norm_fwd": "reduction",
    "_causal_conv1d_": "other",
    "_selective_scan_update": "other",
    "_per_token_group_quant": "elementwise",
    "write_req_to_token_pool": "copy",
}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of inductor's Triton kernels."""
    tokens = spelling.procedural.split("_")
    if len(tokens) > 2 and tokens[1] in _ROLES and tokens[2] == "fused":
        return _inductor(name, tokens)
    kind = tokens[1] if len(tokens) > 1 and tokens[1] in ("mm", "bmm", "tem") else None
    rest = spelling.procedural[len("triton_") :]
    return make_kernel_name(
        name=name,
        family="triton_inductor",
        role=_ROLES[kind] if kind else "other",
        kind=kind,
        unparsed=None if kind else rest or None,
    )


def _inductor(name: str, tokens: list[str]) -> KernelName:
    kind = tokens[1]
    operations = tokens[3:]
    details: list[tuple[str, Detail]] = []
    if operations and operations[-1].isdigit() and operations[-1].isascii():
        details.append(("index", operations.pop()))
    fused = "_".join(operations).strip("_")
    if fused:
        details.append(("ops", fused))
    role = _ROLES[kind]
    if role == "gemm" and "attention" in fused:
        role = "attention"
    return make_kernel_name(name=name, family="triton_inductor", role=role, kind=kind, details=tuple(details))


def read_user(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of the well-known hand-written kernels; None where it is none of them."""
    function = spelling.procedural
    for beginning, role in USER_KERNELS.items():
        if function.startswith(beginning):
            return make_kernel_name(name=name, family="triton_user", role=role, kernel=function)
    if _PYTHON_KERNEL.fullmatch(function):
        return make_kernel_name(name=name, family="triton_user", role=role_of(function), kernel=function)
    return None
