"""FlashAttention 3 (sm90) and the kernels around it.

    cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<mainloop, epilogue, scheduler>>>
    mainloop = CollectiveMainloopFwdSm90<stages, cluster, tuple<queries, keys, head_dim>, head_dim_v, element,
        accumulator, arch, causal, local, …>
    epilogue = CollectiveEpilogueFwd<tile, cluster, element, arch, threads, varlen, pack_gqa, split, …>
    cutlass::device_kernel<flash::FlashAttnFwdCombine<tuple<rows, columns>, log2_of_most_splits, threads, …, element,
        accumulator, arch>>
    flash::FlashAttnBwdSm90<…>, FlashAttnBwdPreprocess<…>, FlashAttnBwdPostprocessConvertdQ<…>
    compute_attn_ws<traits<head_dim, queries, keys, warps, stages, …>>          the beta of FlashAttention 3

Source: flash-attention's hopper/flash_fwd_launch_template.h and names of real traces. Verified for the forward
form. The mainloop's truth values differ between versions, so only causal and local are read from it; whether keys
are split is read from the epilogue, where its place has not moved.

The combine kernel sums the partial outputs of split keys: role `reduction`, `split_k_form` `split-kv`.
`FlashAttnBwdPostprocessConvertdQ` converts the gradient's type (role `elementwise`); `FlashAttnBwdPreprocess` makes
row sums (role `reduction`).

Details: `direction`, `causal`, `local`, `head_dim_v`, `max_splits_log2`, `scheduler`.
"""

import re

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, boolean_literal, cute_shape, integer_literal

_ARCH = re.compile(r"cutlass::arch::Sm(\d+)")
_CLASS = re.compile(r"FlashAttn\w+")
_SCHEDULER = re.compile(r"flash::(\w{0,60}TileScheduler\w{0,20})<")
_ROLES = {
    "FlashAttnFwdCombine": "reduction",
    "FlashAttnBwdPreprocess": "reduction",
    "FlashAttnBwdPostprocessConvertdQ": "elementwise",
}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of FlashAttention 3; None where it is not one."""
    text = spelling.text
    found = _CLASS.search(text)
    if found is None:
        return None
    kernel = found.group()
    arch = _ARCH.search(text)
    role = _ROLES.get(kernel, "attention")
    details: list[tuple[str, Detail]] = [("direction", "bprop" if "Bwd" in kernel else "fprop")]
    fields = _Fields()
    if kernel == "FlashAttnFwdCombine":
        _read_combine(text, found.end(), fields, details)
    elif kernel.startswith("FlashAttnFwd"):
        _read_forward(text, fields, details)
    return KernelName(
        name=name,
        family="flash_attn3",
        role=role,
        arch=f"sm{arch.group(1)}" if arch else None,
        types=fields.types,
        tile=fields.tile,
        stages=fields.stages,
        cluster=fields.cluster,
        split_k_form=fields.split_k_form,
        kernel=kernel,
        threads=fields.threads,
        head_dim=fields.head_dim,
        details=tuple(details),
        unparsed=None if fields.read else text[found.end() :] or None,
    )


class _Fields:
    """What the template arguments state."""

    def __init__(self) -> None:
        self.types: Types | None = None
        self.tile: tuple[int | None, int | None, int | None] | None = None
        self.stages: int | None = None
        self.cluster: tuple[int, ...] | None = None
        self.split_k_form: str | None = None
        self.threads: int | None = None
        self.head_dim: int | None = None
        self.read = False


def _read_combine(text: str, opening: int, fields: _Fields, details: list[tuple[str, Detail]]) -> None:
    fields.split_k_form = "split-kv"
    if text[opening : opening + 1] != "<":
        return
    listed, _ = arguments(text, opening)
    fields.read = True
    if len(listed) > 2:
        if (most := integer_literal(listed[1])) is not None:
            details.append(("max_splits_log2", most))
        fields.threads = integer_literal(listed[2])
    elements = [word for argument in listed[3:] if (word := cpp_type(argument))]
    if len(elements) > 1:
        fields.types = Types(output=elements[0], accumulate=elements[1])


def _read_forward(text: str, fields: _Fields, details: list[tuple[str, Detail]]) -> None:
    place = text.find("CollectiveMainloopFwd")
    opening = text.find("<", place)
    if place < 0 or opening < 0:
        return
    listed, end = arguments(text, opening)
    if len(listed) < 9:
        return
    fields.read = True
    fields.stages = integer_literal(listed[0])
    fields.cluster = cute_shape(listed[1])
    shape = cute_shape(listed[2])
    if shape is not None and len(shape) == 3:
        fields.tile = (shape[0], shape[1], None)
        fields.head_dim = shape[2]
    if (values := integer_literal(listed[3])) is not None:
        details.append(("head_dim_v", values))
    element = cpp_type(listed[4])
    fields.types = Types(a=element, b=element, accumulate=cpp_type(listed[5]))
    for word, argument in (("causal", listed[7]), ("local", listed[8])):
        if (flag := boolean_literal(argument)) is not None:
            details.append((word, flag))
    opening = text.find("CollectiveEpilogueFwd<", end)
    if opening >= 0:
        output, _ = arguments(text, opening + len("CollectiveEpilogueFwd"))
        if len(output) >= 8:
            split = boolean_literal(output[7])
            fields.split_k_form = None if split is None else "split-kv" if split else "none"
    scheduler = _SCHEDULER.search(text, end)
    if scheduler is not None:
        details.append(("scheduler", scheduler.group(1)))


def read_beta(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of the beta, whose traits are a list of numbers as in FlashAttention 2 (order inferred)."""
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    traits = arguments(listed[0], listed[0].index("<"))[0] if listed and "<" in listed[0] else []
    numbers = [integer_literal(part) for part in traits[:5]]
    whole = len(numbers) == 5 and None not in numbers
    return KernelName(
        name=name,
        family="flash_attn3",
        role="attention",
        tile=(numbers[1], numbers[2], None) if whole else None,
        warps=(numbers[3] or 0,) if whole else None,
        stages=numbers[4] if whole else None,
        head_dim=numbers[0] if whole else None,
        kernel="compute_attn_ws",
        unparsed=None if whole or spelling.open < 0 else spelling.text[spelling.open :],
    )
