"""Triton kernels: torch inductor's generated ones, and those that serving libraries write by hand.

    triton_{poi|red|per|tem|mm|bmm|for|spl}_fused_<ops>_<n>      inductor
    triton__0d1d2d3                                              torch 2.0: argument kinds only

Source: torch/_inductor (`kernel_category`, `get_fused_kernel_name`). Verified: the kind and the fused operations.
**There is no tile and no type in the name**, and the trailing number counts kernels of one graph, so it is not
stable between builds.

- poi: pointwise, role elementwise. red, per: (persistent) reduction, role reduction. spl: split scan, role reduction.
- tem, mm, bmm: a template, role gemm (attention where the operations say so). for: foreach, role elementwise.

Hand-written kernels (family `triton_user`) mostly have the name of their Python function and nothing else: block sizes
and SPLIT_K are constants that do not show. They are known by it: a bare lower-case identifier that ends in `_kernel`,
which no demangled C++ name is (inferred), or one of the well-known functions of vLLM, SGLang and flash-linear-attention
listed here. Attention that splits the keys has its own functions (`kernel_unified_attention_3d`, `_fwd_kernel_stage1`),
and so has what adds the parts (`reduce_segments`, `_fwd_kernel_stage2`).

Triton's own library of kernels (`triton_kernels`, gpt-oss in vLLM and SGLang) prints the configuration:

    {_matmul_ogs|_p_matmul_ogs|_matmul|_p_matmul}_<layouts>_<Y>x<X>x<W>_<BLOCK_M>x<BLOCK_N>x<BLOCK_K>x<SPLIT_K>[_acc]
    _finalize_matmul_scatter_<type>

Source: triton_kernels, matmul_ogs_details/_common.py, `make_matmul_repr`. Verified: layouts of Y, X, W (N: stride 1),
types (`mxfp4` for packed bytes), block sizes, SPLIT_K. Where k is split, or an expert's rows are scattered,
`_finalize_matmul…` adds the parts: role `reduction`.

Details: `ops` (fused operations as printed), `index`, `persistent` (`_p_…`), `accumulates` (`_acc`).
"""

import re

from tracediff.kernels.cpp_types import integers
from tracediff.kernels.function_words import role_of
from tracediff.kernels.meanings import VERIFIED, Meanings, TokenRule
from tracediff.kernels.model import Detail, KernelName, Types
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
    "_p_matmul_ogs": "gemm",
    "_finalize_matmul": "reduction",
    "matmul_kernel_persistent": "gemm",
    "bmm_kernel": "gemm",
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

# How attention is split over the keys, by how names begin; the longer ones first.
_SPLIT_FORMS = {
    "kernel_unified_attention_2d": "none",
    "kernel_unified_attention_3d": "split-kv",
    "kernel_paged_attention_2d": "none",
    "_fwd_grouped_kernel_stage1": "split-kv",
    "_fwd_kernel_stage": "split-kv",
    "reduce_segments": "split-kv",
    "merge_attn_states_kernel": "split-kv",
}
_CONFIGURED = re.compile(
    r"_(p_)?matmul(?:_ogs)?_([NT]{3})_([a-z0-9]{2,12})x([a-z0-9]{2,12}?)x([a-z0-9]{2,12})"
    r"_(\d{1,9}x\d{1,9}x\d{1,9})x(\d{1,9})(_acc)?"
)
_TYPES = {"fp16": "f16", "fp32": "f32", "fp64": "f64", "fp8e4nv": "e4m3", "fp8e5": "e5m2"}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of inductor's Triton kernels."""
    tokens = spelling.procedural.split("_")
    if len(tokens) > 2 and tokens[1] in _ROLES and tokens[2] == "fused":
        return _inductor(name, tokens)
    kind = tokens[1] if len(tokens) > 1 and tokens[1] in ("mm", "bmm", "tem") else None
    rest = spelling.procedural[len("triton_") :]
    return KernelName(
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
    return KernelName(name=name, family="triton_inductor", role=role, kind=kind, details=tuple(details))


def read_user(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of the well-known hand-written kernels; None where it is none of them."""
    function = spelling.procedural
    if (configured := _CONFIGURED.fullmatch(function)) is not None:
        return _read_configured(name, configured)
    for beginning, role in USER_KERNELS.items():
        if function.startswith(beginning):
            form = next((form for start, form in _SPLIT_FORMS.items() if function.startswith(start)), None)
            return KernelName(name=name, family="triton_user", role=role, split_k_form=form, kernel=function)
    if _PYTHON_KERNEL.fullmatch(function):
        return KernelName(name=name, family="triton_user", role=role_of(function), kernel=function)
    return None


def _read_configured(name: str, found: re.Match[str]) -> KernelName:
    """Read what `make_matmul_repr` prints."""
    persistent, layout, output, x, w, tile, parts, accumulates = found.groups()
    m, n, k = integers(tile) or (0, 0, 0)
    details: list[tuple[str, Detail]] = []
    if persistent:
        details.append(("persistent", True))
    if accumulates:
        details.append(("accumulates", True))
    return KernelName(
        name=name,
        family="triton_user",
        role="gemm",
        types=Types(a=_TYPES.get(x, x), b=_TYPES.get(w, w), output=_TYPES.get(output, output)),
        tile=(m, n, k),
        layout=layout,
        split_k=int(parts),
        split_k_form="none" if parts == "1" else "stated",
        kernel=name.partition(f"_{layout}_")[0],
        details=tuple(details),
    )


_TOKENS: tuple[TokenRule, ...] = (
    (r"triton", "torch inductor's Triton kernel", VERIFIED, True),
    # One rule, used once: behind it the same words are operations.
    (
        r"poi|red|per|tem|mm|bmm|for|spl|unk",
        "kind: poi pointwise; red, per reduction (per: a row in one block); tem, mm, bmm template; for foreach; "
        "spl split scan; unk unknown",
        VERIFIED,
        True,
    ),
    (r"\d{1,3}d[\dcde]+", "kinds of the arguments (torch 2.0)", VERIFIED, True),
    (r"fused", "introduces the fused operations", VERIFIED, True),
    (r"\d+", "number of the kernel in its graph, not stable between builds", VERIFIED, False),
    (r"\w+", "part of a fused operation's name", VERIFIED, False),
)

MEANINGS = Meanings(
    tokens={"triton_inductor": _TOKENS},
)
