"""What varies by itself, in words: which module, by which kernel, how often."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.kernels import parse
from tracediff.measured import RunEvidence

_FAMILIES = {
    "cudnn_sdpa": "cuDNN",
    "flash_attn2": "FlashAttention 2",
    "flash_attn3": "FlashAttention 3",
    "fmha_cutlass": "memory-efficient attention",
}
# Families that name no library; reductions and the like run beside the kernel that a reader knows.
_NO_FAMILY = frozenset({"other", "at_native"})
_ATTENTIONS = {"sdpa": "torch's default attention"}


def noise_in_words(measured: RunEvidence) -> str | None:
    """Say what varies from run to run on equal inputs; None where the run repeats itself.

    Args:
        measured: Of two batch sizes.
    """
    if not measured.unstable:
        control = measured.controls.get("run_to_run")
        if control is None or control.equal is not False:
            return None
        return "no module was found to vary, whole runs do" + (f" (first: {control.first})" if control.first else "")
    kinds = list(dict.fromkeys(_kind(each.module) for each in measured.unstable))
    families = list(dict.fromkeys(family for each in measured.unstable for family in _families(each.kernels)))
    places = len({(each.phase, each.module, each.batch) for each in measured.unstable})
    worst = max(measured.unstable, key=lambda each: each.outcomes / each.repeats)
    often = (
        f"{kinds[0] if len(kinds) == 1 else 'modules'} gave up to {worst.outcomes} different outputs in "
        f"{worst.repeats} runs on equal inputs, in {places:,} place{'' if places == 1 else 's'}"
    )
    attention = _ATTENTIONS.get(measured.attention or "", f"--attention {measured.attention}")
    is_attention = len(kinds) == 1 and "attn" in kinds[0] and measured.attention is not None
    who = ", ".join([*([attention] if is_attention else kinds if len(kinds) > 1 else []), *families])
    return f"{who} ({often})" if who else often


def _families(kernels: Sequence[str]) -> list[str]:
    found = (parse(name).family for name in kernels)
    return [_FAMILIES.get(family, family) for family in found if family not in _NO_FAMILY]


def _kind(module: str) -> str:
    """Return a module's last word that is no number."""
    words = [word for word in module.split(".") if not word.isdecimal()]
    return words[-1] if words else module
