"""What a kernel's function name tells of its role, for libraries whose names hold words and no configuration."""

# The first word found decides, so narrower words stand first.
_ROLES = (
    ("paged_attention_v2_reduce", "reduction"),
    ("mergestate", "reduction"),
    ("merge_state", "reduction"),
    ("merge_attn_states", "reduction"),
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
    ("rmsnorm", "reduction"),
    ("layernorm", "reduction"),
    ("rms_norm", "reduction"),
    ("layer_norm", "reduction"),
    ("softmax", "reduction"),
    ("topk", "reduction"),
    ("allreduce", "reduction"),
    ("all_reduce", "reduction"),
    ("cross_device_reduce", "reduction"),
    ("moe_sum", "reduction"),
    ("devicereduce", "reduction"),
    ("devicescan", "reduction"),
    ("devicesegmentedreduce", "reduction"),
    ("copy_blocks", "copy"),
    ("gather", "copy"),
    ("transpose", "copy"),
    ("act_and_mul", "elementwise"),
    ("silu_and_mul", "elementwise"),
    ("gelu", "elementwise"),
    ("rotary", "elementwise"),
    ("rope", "elementwise"),
    ("quant", "elementwise"),
    ("block_scaled_mm", "gemm"),
    ("block_fp8_matmul", "gemm"),
    ("matmul", "gemm"),
    ("gemm", "gemm"),
    ("gemv", "gemm"),
)


def role_of(function: str) -> str:
    """Return the role that a function's name tells, `other` where it tells none."""
    lowered = function.lower()
    return next((role for word, role in _ROLES if word in lowered), "other")
