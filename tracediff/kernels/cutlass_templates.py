"""CUTLASS kernels that go by their C++ template instead of a procedural name: vLLM's, SGLang's, PyTorch's and everyone
else's.

    cutlass::device_kernel<[wrapper<]cutlass::gemm::kernel::GemmUniversal<problem, mainloop, epilogue, scheduler>[>]>
    mainloop = CollectiveMma<policy, tile, A, strides, B, …>
    policy = MainloopSm<XX><words><stages, [scheduler stages, accumulator stages,] cluster[, schedule | arch]>
    cutlass::Kernel[2]<[wrapper<]cutlass::gemm::kernel::Gemm…<MmaMultistage<GemmShape<M, N, K>, …, stages, …>, …>>

Source: CUTLASS' include/cutlass/gemm (dispatch_policy.hpp, collective/*, threadblock/mma_multistage.h). Verified.

- tile: `tuple<C<M>, C<N>, C<K>>` behind the policy. On sm100 it is the tile of one instruction; with a `2x1SM`
  instruction M spans two CTAs (`two_cta`).
- cluster: the tuple in the policy; a dynamic one is not read.
- schedule: the policy's `Kernel…` argument on sm90 (`KernelTmaWarpSpecializedPingpong` → `warpspecialized_pingpong`).
- instruction: from the MMA atom's name (`MMA_64x128x16_F32F16F16_SS`, `SM100_MMA_F8F6F4_2x1SM_SS`).
- a stream-K scheduler: form `stream-k`; `GemmSplitKParallel`: form `parallel`. Anything else does not tell.
- `cutlass::reduction::kernel::ReduceSplitK`: role `splitk_reduce`.
- `machete::…`: Machete, vLLM's mixed-input GEMM (family `machete`); `vllm::cutlass_3x_gemm…`,
  `enable_sm90_or_later<…>`: wrappers of vLLM's cutlass_scaled_mm, kept in `wrapper`.

Family `cutlass3x` or `cutlass2x`, as for the procedural names.

Details: `wrapper`, `policy`, `scheduler_stages`, `accumulator_stages`, `split_k_serial`.
"""

import re

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, cute_shape, integer_literal

_POLICY = re.compile(r"Mainloop(Sm\d{2,4})(\w{0,100})<")
_SCHEDULE = re.compile(
    r"Kernel(?:PtrArray|Array)?(Tma|CpAsync)?(WarpSpecialized)?(Pingpong|Cooperative)?(FP8FastAccum)?(?:[<,> ]|$)"
)
_SM90_ATOM = re.compile(r"(?:SM90_|MMA_)(\d{1,4})x(\d{1,4})x(\d{1,4})_(F16|F32|S32)[A-Z]")
_SM100_ATOM = re.compile(r"SM1\d\d_MMA_\w{1,40}?_(2x1SM_)?(?:SS|TS)\b")
_STAGED = re.compile(r"Mma(Multistage|Pipelined|Singlestage)\w*<")
# MmaMultistage<shape, iterators and cache operations of A and B (6), C's element and layout, policy, stages, …>
_STAGES_AT = 10
_SHAPE = re.compile(r"GemmShape<([^<>]{1,60})>")
_WRAPPER = re.compile(r"\b(\w{1,80})<")


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one CUTLASS kernel given as a C++ template; None where it is none."""
    text = spelling.text
    if "ReduceSplitK" in text:
        return KernelName(
            name=name, family="cutlass2x", role="splitk_reduce", kernel="ReduceSplitK", split_k_form="parallel"
        )
    if (policy := _POLICY.search(text)) is not None:
        return _read_3x(name, text, policy)
    if (staged := _STAGED.search(text)) is not None:
        return _read_2x(name, text, staged)
    if "GemmUniversal" in text or "gemm::kernel::" in text or "cutlass_3x_gemm" in text:
        family = "cutlass2x" if "threadblock" in text or "enable_sm8" in text else "cutlass3x"
        return KernelName(
            name=name,
            family=family,
            role="gemm",
            kind="gemm",
            details=tuple(_wrapper(text, len(text))),
            unparsed=text[spelling.open :] if spelling.open >= 0 else None,
        )
    return None


def _read_3x(name: str, text: str, policy: re.Match[str]) -> KernelName:
    listed, end = arguments(text, policy.end() - 1)
    details: list[tuple[str, Detail]] = _wrapper(text, policy.start())
    details.append(("policy", policy.group(2)))
    numbers = [number for argument in listed if (number := integer_literal(argument)) is not None]
    if len(numbers) >= 3:
        details += [("scheduler_stages", numbers[1]), ("accumulator_stages", numbers[2])]
    cluster = next((shape for argument in listed if (shape := cute_shape(argument))), None)
    # The collective's own list starts before the policy: read on from behind it, as if it had just opened.
    rest, _ = arguments("<" + text[end:].lstrip(" ,"), 0)
    shape = cute_shape(rest[0]) if rest else None
    tile = (shape[0], shape[1], shape[2]) if shape is not None and len(shape) == 3 else None
    mma, accumulate, two_cta = _instruction(text)
    a, b = _elements(rest)
    return KernelName(
        name=name,
        family="machete" if "machete" in text else "cutlass3x",
        role="gemm",
        arch=policy.group(1).lower(),
        types=Types(a=a, b=b, accumulate=accumulate) if a or b or accumulate else None,
        tile=tile,
        stages=numbers[0] if numbers else None,
        cluster=cluster,
        mma=mma,
        split_k_form="stream-k" if "StreamK" in text else None,
        schedule=_schedule(listed),
        kind="gemm",
        two_cta=two_cta,
        details=tuple(details),
        unparsed=None if tile is not None else text[policy.start() :],
    )


def _wrapper(text: str, before: int) -> list[tuple[str, Detail]]:
    """Return the first template around the kernel that is not CUTLASS' own."""
    for found in _WRAPPER.finditer(text, 0, before):
        if not text[: found.start()].endswith(("cutlass::", "kernel::", "collective::", "threadblock::", "cute::")):
            return [("wrapper", found.group(1))]
    return []


def _schedule(listed: list[str]) -> str | None:
    for argument in listed:
        if (found := _SCHEDULE.search(argument)) is not None:
            words = [word.lower() for word in found.groups()[1:3] if word]
            if found.group(1) == "CpAsync":
                words.insert(0, "cpasync")
            if found.group(4):
                words.append("fp8_fastaccum")
            return "_".join(words) or None
    return None


def _elements(rest: list[str]) -> tuple[str | None, str | None]:
    """Return the element types of A and B: the list goes tile, A, strides of A, B, strides of B, …"""
    a = cpp_type(rest[1]) if len(rest) > 1 else None
    b = cpp_type(rest[3]) if len(rest) > 3 else None
    return a, b


def _instruction(text: str) -> tuple[tuple[int, ...] | None, str | None, bool | None]:
    """Return the instruction's shape, its accumulator's type and whether two CTAs share it."""
    sm90 = _SM90_ATOM.search(text)
    if sm90 is not None:
        return (int(sm90.group(1)), int(sm90.group(2)), int(sm90.group(3))), sm90.group(4).lower(), None
    sm100 = _SM100_ATOM.search(text)
    return None, None, None if sm100 is None else sm100.group(1) is not None


def _read_2x(name: str, text: str, staged: re.Match[str]) -> KernelName:
    listed, end = arguments(text, staged.end() - 1)
    shapes = [_shape(found.group(1)) for found in _SHAPE.finditer(text, staged.end(), max(end, staged.end()))]
    tile = shapes[0] if shapes else None
    stages = None
    if staged.group(1) == "Multistage":
        stages = integer_literal(listed[_STAGES_AT]) if len(listed) > _STAGES_AT else None
    return KernelName(
        name=name,
        family="cutlass2x",
        role="gemm",
        tile=tile,
        stages=stages,
        split_k_form="parallel" if "GemmSplitKParallel" in text else "stream-k" if "StreamK" in text else None,
        kind="gemm",
        details=tuple(_wrapper(text, staged.start())),
        unparsed=None if tile is not None else text[staged.start() :],
    )


def _shape(text: str) -> tuple[int | None, int | None, int | None] | None:
    numbers = [integer_literal(part.strip()) for part in text.split(",")]
    if len(numbers) != 3 or None in numbers:
        return None
    return numbers[0], numbers[1], numbers[2]
