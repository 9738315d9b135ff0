"""FlashMLA: DeepSeek's latent attention for decoding.

    flash_fwd_splitkv_mla_kernel<Flash_fwd_kernel_traits_mla<head_dim, queries, keys, warps, element, head_dim_v, …>,
        causal, …>
    flash_fwd_splitkv_mla_combine_kernel<element, accumulator, index, head_dim_v, most_splits>
    flash_fwd_mla_combine_kernel<element, head_dim_v, rows, most_splits, threads>

Source: FlashMLA's csrc/flash_fwd_mla_kernel.h and csrc/kernels/mla_combine.cu. Verified. Newer versions have other
traits (`sm90::…<Traits, TmaParams>`), which state nothing readable. Keys are split by a schedule made at run time: the
main kernel's form is `split-kv`, as its name says; how many parts there are is not in the name. The combine kernel sums
them: role `reduction`.

Details: `head_dim_v`, `causal`, `max_splits`.
"""

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, boolean_literal, integer_literal


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one FlashMLA name."""
    kernel = spelling.path.rpartition("::")[2]
    combine = "combine" in kernel
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    details: list[tuple[str, Detail]] = []
    types = tile = head_dim = warps = None
    read_any = False
    if combine and len(listed) >= 5:
        read_any = True
        types = Types(output=cpp_type(listed[0]), accumulate=cpp_type(listed[1]))
        # The older kernel lists two more types, the newer one its rows and threads.
        stated = listed[3:5] if "splitkv" in kernel else (listed[1], listed[3])
        for word, argument in zip(("head_dim_v", "max_splits"), stated, strict=True):
            if (number := integer_literal(argument)) is not None:
                details.append((word, number))
    elif listed and "kernel_traits_mla<" in listed[0]:
        traits, _ = arguments(listed[0], listed[0].index("<"))
        numbers = [integer_literal(part) for part in traits[:4]]
        if len(traits) >= 6 and None not in numbers:
            read_any = True
            head_dim = numbers[0]
            tile = (numbers[1], numbers[2], None)
            warps = (numbers[3] or 0,)
            element = cpp_type(traits[4])
            types = Types(a=element, b=element)
            if (values := integer_literal(traits[5])) is not None:
                details.append(("head_dim_v", values))
        if len(listed) > 1 and (causal := boolean_literal(listed[1])) is not None:
            details.append(("causal", causal))
    return KernelName(
        name=name,
        family="flashmla",
        role="reduction" if combine else "attention",
        types=types,
        tile=tile,
        warps=warps,
        split_k_form="split-kv" if "splitkv" in kernel or combine else None,
        kernel=kernel,
        head_dim=head_dim,
        details=tuple(details),
        unparsed=spelling.text[spelling.open :] if not read_any and spelling.open >= 0 else None,
    )
