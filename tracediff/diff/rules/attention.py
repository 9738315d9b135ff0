"""Attention: the sum over keys, cut into tiles of keys and, with split-KV, into parts that a second kernel combines."""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.facts import agree, change, differ, launch_change, same_block, same_launch, same_name
from tracediff.diff.rules.rule import Rule, always

_FLASH_ATTENTIONS = frozenset({"flash_attn1", "flash_attn2", "flash_attn3"})
FLASH = "FlashAttention flash_fwd_launch_template.h"


def _is_split(kernel: Kernel) -> bool:
    return kernel.parsed.split_k_form == "split-kv"


def _is_whole(kernel: Kernel) -> bool:
    return kernel.parsed.split_k_form == "none"


def _warps_along_keys(kernel: Kernel) -> int | None:
    """Warps of a block that share one query's keys (cuDNN prints warps along queries x keys x head)."""
    warps = kernel.parsed.warps
    return warps[1] if warps is not None and len(warps) == 3 else None


def varies_from_run_to_run(kernel: Kernel) -> bool:
    """Whether the same launch on the same input may give different bits: equal launches then promise nothing.

    cuDNN's kernel that varies is recognised by warps that share one query's keys. A cuDNN kernel whose name
    does not say how its warps are laid out may be one.
    """
    return kernel.parsed.family == "cudnn_sdpa" and _warps_along_keys(kernel) != 1


# A plan made before the launch says which block works on which keys: FlashMLA's tile_scheduler_metadata, FlashAttention
# 3's num_splits_dynamic, request_indices and kv_tile_indices of flashinfer's batched kernels, SGLang's num_kv_splits.
_PLANNED = {
    "flashmla": ("",),
    "flash_attn3": ("",),
    "flashinfer": ("Batch",),
    "triton_user": ("_fwd_kernel_stage1", "_fwd_grouped_kernel_stage1"),
}


def keys_cut_by_plan(kernel: Kernel) -> bool:
    """Whether an argument of the launch, not its configuration, says where the keys are cut."""
    parsed = kernel.parsed
    if parsed.family == "trtllm_gen_fmha":
        return parsed.split_k_form == "split-kv"
    beginnings = _PLANNED.get(parsed.family)
    if beginnings is None or parsed.split_k_form == "none":
        return False
    return (parsed.kernel or "").startswith(beginnings)


# Where the launch grid counts the parts of split-KV, by family and function.
_PARTS_AXIS = {
    ("flash_attn2", "flash_fwd_splitkv_kernel"): 1,  # query tiles, parts, batch x heads
    ("vllm", "paged_attention_v2_kernel"): 2,  # heads, sequences, partitions
    ("triton_user", "kernel_unified_attention_3d"): 2,  # query blocks, KV heads, segments
}


def _parts(kernel: Kernel) -> int | None:
    """Parts of the keys, as the launch grid counts them; None where it does not."""
    axis = _PARTS_AXIS.get((kernel.parsed.family, kernel.parsed.kernel or ""))
    return kernel.grid[axis] if axis is not None and _is_split(kernel) else None


ATTENTION = (
    Rule(
        name="cuDNN, warps along the keys",
        when=lambda a, b: varies_from_run_to_run(a) and varies_from_run_to_run(b),
        verdict=Verdict.UNKNOWN,
        reason="cuDNN attention that varies from run to run",
        source="scripts/repeat_attention.py: one query against 501 keys, 200 runs on one input, gave 2 bit patterns at"
        " batch 6 and more than 100 at batch 64 (fp16); also where names and launches are equal",
    ),
    Rule(
        name="keys cut by a plan",
        when=lambda a, b: same_name(a, b) and same_launch(a, b) and keys_cut_by_plan(a),
        verdict=Verdict.UNKNOWN,
        reason="same kernel, same launch; a plan that is not in the trace cuts the keys",
        source="FlashMLA csrc/flash_fwd_mla_kernel.h, num_splits_ptr; FlashAttention hopper/flash_fwd_combine_kernel.h,"
        " num_splits_dynamic_ptr; flashinfer attention/decode.cuh, kv_tile_indices; SGLang"
        " triton_ops/decode_attention.py, num_kv_splits",
    ),
    Rule(
        name="split-KV appears or disappears",
        when=lambda a, b: (_is_split(a) and _is_whole(b)) or (_is_whole(a) and _is_split(b)),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: "split-KV only in " + ("a" if _is_split(a) else "b"),
        source=FLASH + ": with splits the parts are combined by a second kernel",
    ),
    Rule(
        name="number of KV parts",
        when=lambda a, b: same_name(a, b) and differ(_parts(a), _parts(b)),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: change("split-KV", _parts(a), _parts(b)),
        source=FLASH + ": grid is (query tiles, splits, batch x heads); vLLM: its last axis counts partitions",
    ),
    Rule(
        name="same KV parts",
        when=lambda a, b: same_name(a, b) and same_block(a, b) and agree(_parts(a), _parts(b)),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"same kernel, split-KV {_parts(a)} in both",
        source=FLASH,
    ),
    Rule(
        name="unsplit, more rows",
        when=lambda a, b: (
            same_name(a, b)
            and same_block(a, b)
            and (a.parsed.family == "fmha_cutlass" or (a.parsed.family in _FLASH_ATTENTIONS and _is_whole(a)))
        ),
        verdict=Verdict.SAME_ORDER,
        reason="same kernel, one block per tile of queries, rows only",
        source=FLASH + "; FlashAttention 3 hopper/mainloop_fwd_sm90_tma_gmma_ws.hpp; FlashAttention 1"
        " fmha_fwd_launch_template.h, whose num_splits cuts the queries; PyTorch mem_eff_attention/kernel_forward.h:"
        " a block walks all keys of its queries",
    ),
    Rule(
        name="cuDNN, no warps along the keys",
        when=lambda a, b: (
            same_name(a, b)
            and same_block(a, b)
            and a.parsed.family == "cudnn_sdpa"
            and _warps_along_keys(a) == 1
            and sum(x != y for x, y in zip(a.grid, b.grid, strict=True)) == 1
        ),
        verdict=Verdict.SAME_ORDER,
        reason="same kernel, each warp walks all keys of its queries, rows only",
        source="the sweep; where cuDNN splits the keys, a lean_reduction_kernel follows, whose change is unknown",
    ),
    Rule(
        name="key tile",
        when=lambda a, b: (
            a.parsed.tile is not None and b.parsed.tile is not None and differ(a.parsed.tile[1], b.parsed.tile[1])
        ),
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: change("key tile", a.parsed.tile and a.parsed.tile[1], b.parsed.tile and b.parsed.tile[1]),
        source="online softmax rescales once per tile of keys; with few keys both tiles hold all of them",
    ),
    Rule(
        name="other kernel",
        when=lambda a, b: not same_name(a, b),
        verdict=Verdict.UNKNOWN,
        reason="a different attention kernel",
        source="not measured",
    ),
    Rule(
        name="other grid",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: f"same attention kernel, {launch_change(a, b)}",
        source="the grid may hold a split over keys",
    ),
)
