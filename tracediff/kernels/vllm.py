"""vLLM's own kernels (`vllm::…`), beside its GEMMs and attention.

The function says what it does; template arguments are element types and switches. Source: vLLM's csrc. Verified by
the functions' names.

- norms (`rms_norm_kernel`, `fused_add_rms_norm_kernel`), top-k routing, all-reduces: role `reduction`.
- `act_and_mul_kernel` (silu_and_mul, …), rotary embedding, quantization: role `elementwise`.
- `reshape_and_cache…`, `copy_blocks…`: role `copy`.
- `paged_attention_v1_kernel`, `paged_attention_v2_kernel<…>`: attention; v2 splits keys into partitions (`split-kv`),
  which `paged_attention_v2_reduce_kernel` sums (role `reduction`).

Details: none.
"""

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.function_words import role_of
from tracediff.kernels.model import KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments

_SPLIT_KV = ("paged_attention_v2", "merge_attn_states")


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of vLLM's kernels."""
    function = spelling.path.rpartition("::")[2]
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    element = cpp_type(listed[0]) if listed else None
    role = role_of(function)
    return KernelName(
        name=name,
        family="vllm",
        role=role,
        types=Types(a=element) if element else None,
        split_k_form="split-kv" if function.startswith(_SPLIT_KV) else None,
        kernel=function,
        unparsed=spelling.text[spelling.open :] if role in ("gemm", "attention") and spelling.open >= 0 else None,
    )
