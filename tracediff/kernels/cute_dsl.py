"""Kernels written in CuTe DSL (CUTLASS' Python), among them FlashAttention 4.

    kernel_cutlass_<method>_<module><Class>_object_at__tensor<…>_…

Names are cut short and carry the layouts of arguments, no tile.

Inferred from names in traces. The class says what it is (`FlashAttentionForwardSm100`); tile, types and schedule
are not in the name.
"""

import re

from tracediff.kernels.model import KernelName
from tracediff.kernels.spelling import Spelling

_ARCH = re.compile(r"Sm(\d{2,3})")
_CAPITAL = re.compile(r"[A-Z]")


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one CuTe DSL name."""
    text = spelling.procedural.removeprefix("kernel_cutlass_")
    head, found, rest = text.partition("_object_at_")
    arch = _ARCH.search(head)
    lowered = head.lower()
    combine = "combine" in lowered
    attention = "attention" in lowered or "attn" in lowered or "fmha" in lowered or "mla" in lowered
    capital = _CAPITAL.search(head)
    return KernelName(
        name=name,
        family="cute_dsl",
        role="reduction" if combine else "attention" if attention else "gemm" if "gemm" in lowered else "other",
        arch=f"sm{arch.group(1)}" if arch else None,
        split_k_form="split-kv" if combine and attention else None,
        kernel=head[capital.start() :] if capital else head,
        unparsed=rest or None if found else None,
    )
