"""FlashAttention 2, from its own package (`flash::`) and from PyTorch (`pytorch_flash::`).

    flash_fwd_kernel<traits, dropout, causal, local, alibi, evenMN, evenK[, softcap], return_softmax>
    flash_fwd_splitkv_kernel<traits, causal, local, alibi, evenMN, evenK[, softcap], split, append_kv>
    flash_fwd_splitkv_combine_kernel<traits, rows, log2_of_most_splits, evenK>
    flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<traits, dropout, causal, …>
    flash_bwd_dot_do_o_kernel<…>, flash_bwd_convert_dq_kernel<traits>
    traits = Flash_fwd_kernel_traits<head_dim, queries, keys, warps, Q_in_regs, share_QK, element, base>

Source: the launch templates (`flash_fwd_launch_template.h`). The number of truth values differs between versions,
so `split` and `append_kv` are counted from the end. Verified.

- `flash_fwd_splitkv_kernel` with split = false still is this kernel, unsplit.
- `…_combine_kernel` sums the splits' partial outputs: role `reduction`, `split_k_form` `split-kv`.
- How many splits there are is a launch argument, not in the name.

Details: `dropout`, `causal`, `append_kv`, `split`, `max_splits_log2`, `direction`.
"""

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.meanings import VERIFIED, Argument, Meanings
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, boolean_literal, integer_literal


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of FlashAttention 2."""
    kernel = spelling.path.rpartition("::")[2]
    combine = "combine" in kernel
    split_kv = "splitkv" in kernel
    details: list[tuple[str, Detail]] = [("direction", "bprop" if "_bwd_" in kernel else "fprop")]
    split_k_form = "split-kv" if combine else None if split_kv else "none" if kernel == "flash_fwd_kernel" else None
    types = tile = head_dim = warps = None
    unparsed = None
    listed, end = arguments(spelling.text, spelling.open) if spelling.open >= 0 else ([], 0)
    traits_at = next((place for place, argument in enumerate(listed) if "kernel_traits<" in argument), None)
    if traits_at is None:
        unparsed = spelling.text[spelling.open :] if spelling.open >= 0 else None
    else:
        traits = listed[traits_at]
        parts, _ = arguments(traits, traits.index("<"))
        numbers = [integer_literal(part) for part in parts[:4]]
        if len(numbers) == 4 and None not in numbers:
            head_dim = numbers[0]
            tile = (numbers[1], numbers[2], None)
            warps = (numbers[3] or 0,)
        element = next((word for part in parts[4:8] if (word := cpp_type(part.rpartition("::")[2]))), None)
        types = Types(a=element, b=element) if element else None
        flags = [boolean_literal(argument) for argument in listed[traits_at + 1 :]]
        # A list cut short by a truncated name cannot be counted from its end.
        whole = end < len(spelling.text) or spelling.text.endswith(">")
        if combine:
            if len(listed) > 2 and (most := integer_literal(listed[2])) is not None:
                details.append(("max_splits_log2", most))
        elif split_kv:
            details += [("causal", flags[0])] if flags and flags[0] is not None else []
            if whole and len(flags) >= 7 and flags[-1] is not None and flags[-2] is not None:
                split_k_form = "split-kv" if flags[-2] else "none"
                details += [("split", flags[-2]), ("append_kv", flags[-1])]
        elif len(flags) > 1 and kernel.startswith(("flash_fwd", "flash_bwd_dq_dk_dv")):
            details += [
                (word, flag) for word, flag in zip(("dropout", "causal"), flags, strict=False) if flag is not None
            ]
    return KernelName(
        name=name,
        family="flash_attn2",
        role="reduction" if combine else "elementwise" if "convert" in kernel else "attention",
        types=types,
        tile=tile,
        warps=warps,
        split_k_form=split_k_form,
        unparsed=unparsed,
        kernel=kernel,
        head_dim=head_dim,
        details=tuple(details),
    )


_TRAITS: Argument = ("head dimension, queries, keys, warps, …, element type", VERIFIED)
_MASKS: tuple[Argument, ...] = tuple(
    (word, VERIFIED) for word in ("causal", "local window", "ALiBi", "lengths even", "head dimension even")
)

MEANINGS = Meanings(
    arguments={
        ("flash_fwd_kernel", 9): (
            _TRAITS,
            ("dropout", VERIFIED),
            *_MASKS,
            ("softcap", VERIFIED),
            ("returns softmax", VERIFIED),
        ),
        ("flash_fwd_splitkv_kernel", 9): (
            _TRAITS,
            *_MASKS,
            ("softcap", VERIFIED),
            ("keys are split over CTAs", VERIFIED),
            ("appends new keys", VERIFIED),
        ),
        ("flash_fwd_splitkv_kernel", 8): (
            _TRAITS,
            *_MASKS,
            ("keys are split over CTAs", VERIFIED),
            ("appends new keys", VERIFIED),
        ),
        ("flash_fwd_splitkv_combine_kernel", 4): (
            _TRAITS,
            ("rows of one CTA", VERIFIED),
            ("log2 of the most splits", VERIFIED),
            ("head dimension even", VERIFIED),
        ),
    }
)
