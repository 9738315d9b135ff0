"""Sums across GPUs: in which order the GPUs' values are added follows from the size of the message.

A ring starts at another GPU for every part of the message, and the parts are cut by its size, which is an argument of
the launch: with another number of rows, the same row lies in another part. Names and launches are equal all the same.
"""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.rule import Rule

_WORDS = ("allreduce", "all_reduce", "cross_device_reduce", "reducescatter", "reduce_scatter", "multimem")
# Every GPU adds the values of all in the same order, whatever the size (vLLM csrc/custom_all_reduce.cuh).
ONE_STAGE = "cross_device_reduce_1stage"
_EXACT = frozenset({"Max", "Min", "MinMax"})


def adds_across_gpus(kernel: Kernel) -> bool:
    """Whether GPUs' values are, or may be, added in an order that the size of the message decides."""
    parsed = kernel.parsed
    if parsed.family == "nccl":
        may_add = parsed.role == "reduction" or parsed.kind == "Generic"
        return may_add and parsed.detail("operation") not in _EXACT
    if parsed.role != "reduction":
        return False
    function = (parsed.kernel or parsed.name.partition("(")[0]).lower()
    return any(word in function for word in _WORDS) and ONE_STAGE not in function


ACROSS_GPUS = (
    Rule(
        name="sum across GPUs",
        when=lambda a, b: adds_across_gpus(a) or adds_across_gpus(b),
        verdict=Verdict.UNKNOWN,
        reason="a sum across GPUs, whose order may follow from the message's size",
        source="NCCL src/device/all_reduce.h: each part of a ring's message starts at another rank; vLLM"
        " csrc/custom_all_reduce.cuh, cross_device_reduce_2stage: the rank that adds a part begins with its own values",
    ),
)
