"""FlashAttention 1 (`flash_attn` before 2.0), whose kernels carry the names of the apex code that it grew from.

    fmha_fwd_loop_kernel<FMHA_kernel_traits<keys, head_dim, queries, warps_m, warps_n, flags, element>, dropout, causal,
        return_softmax>
    fmha_bwd_dq_dk_dv_loop_kernel<…>, fmha_bwd_dot_do_o_kernel<…>

Source: flash-attention 1.0, csrc/flash_attn/src/fmha/kernel_traits.h. Verified by the source; the keys are those of one
step of the loop over keys.

Details: `direction`, `dropout`, `causal`.
"""

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, boolean_literal, integer_literal


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of FlashAttention 1."""
    kernel = spelling.path.rpartition("::")[2]
    details: list[tuple[str, Detail]] = [("direction", "bprop" if "_bwd_" in kernel else "fprop")]
    listed, _ = arguments(spelling.text, spelling.open) if spelling.open >= 0 else ([], 0)
    element = tile = head_dim = warps = None
    if listed and "FMHA_kernel_traits<" in listed[0]:
        parts, _ = arguments(listed[0], listed[0].index("<"))
        numbers = [integer_literal(part) for part in parts[:5]]
        if len(numbers) == 5 and None not in numbers:
            keys, head_dim, queries, warps_m, warps_n = (number or 0 for number in numbers)
            tile, warps = (queries, keys, None), (warps_m, warps_n)
        element = cpp_type(parts[6]) if len(parts) > 6 else None
        for word, flag in zip(("dropout", "causal"), map(boolean_literal, listed[1:3]), strict=False):
            if flag is not None:
                details.append((word, flag))
    return KernelName(
        name=name,
        family="flash_attn1",
        role="attention",
        types=Types(a=element, b=element) if element else None,
        tile=tile,
        warps=warps,
        split_k_form="none",
        unparsed=spelling.text[spelling.open :] if listed and tile is None else None,
        kernel=kernel,
        head_dim=head_dim,
        details=tuple(details),
    )
