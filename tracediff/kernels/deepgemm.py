"""DeepGEMM's fp8 GEMMs, and DeepSeek's own (`dpsk::gemm`).

    deep_gemm::fp8_gemm_kernel<N, K, BM, BN, BK, pad, swizzle_D, groups, stages, TMA threads, math threads, multicast,
        on_A, type>
    dpsk::gemm::fp8_gemm_kernel<N, K, BM, BN, BK, stages, 128, 128, multicast, type>
    sm90_fp8_gemm_1d2d_impl<[Major,] M, N, K, groups, BM, BN, BK, swizzle_A, swizzle_B, swizzle_D, stages
        [, last stages], TMA threads, math threads, multicast, on_A, SMs, type, …>
    sm90_fp8_gemm_1d2d_impl<M, N, K, groups, BM, BN, BK, swizzle_D, stages, last stages, TMA threads,
        math threads, multicast, on_A, SMs, type>
    sm100_fp8[_fp4]_gemm_1d1d_impl<Major, Major, granularity_A, granularity_B, M, N, K, BM, BN, BK, groups,
        swizzle_A, swizzle_B, swizzle_CD, stages, threads, threads, multicast, on_A, SMs, type, …>

Source: the kernels' template declarations and call sites. The orders of the `impl` forms are verified; the first
two are inferred, values agree over 16 names. Which order applies follows from the number of integers before `on_A`.
A dimension of 0 is a run-time argument. A list of any other form is not read. Other `impl` kernels (bf16, tf32,
einsum, …) state their architecture by name only.

Operands of the fp8 kernels are e4m3. DeepGEMM does not split K in these kernels, but the name does not say so:
`split_k_form` is None.

Details: `problem_m`, `problem_n`, `problem_k`, `groups`, `multicast`.
"""

from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, integer_literal

# Where each number is among the integers before `on_A`, by function and how many there are.
_ORDERS: dict[tuple[str, int], tuple[str, ...]] = {
    ("deep_gemm", 12): ("n", "k", "bm", "bn", "bk", "", "", "groups", "stages", "", "", "multicast"),
    ("dpsk", 9): ("n", "k", "bm", "bn", "bk", "stages", "", "", "multicast"),
    ("1d2d", 15): ("m", "n", "k", "groups", "bm", "bn", "bk", "", "", "", "stages", "", "", "", "multicast"),
    ("1d2d", 14): ("m", "n", "k", "groups", "bm", "bn", "bk", "", "", "", "stages", "", "", "multicast"),
    ("1d2d", 13): ("m", "n", "k", "groups", "bm", "bn", "bk", "", "stages", "", "", "", "multicast"),
    ("1d1d", 16): ("", "", "m", "n", "k", "bm", "bn", "bk", "groups", "", "", "", "stages", "", "", "multicast"),
}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one DeepGEMM name."""
    kernel = spelling.path.rpartition("::")[2]
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    numbers: list[int] = []
    for argument in listed:
        if "Major" in argument:
            continue
        number = (
            None if argument.startswith(("true", "false", "(bool)", "(deep", "(dpsk")) else integer_literal(argument)
        )
        if number is None:
            break
        numbers.append(number)
    order = _ORDERS.get((_form(spelling.path, kernel), len(numbers)))
    stated = {word: number for word, number in zip(order or (), numbers, strict=False) if word}
    details: list[tuple[str, Detail]] = [
        (f"problem_{word}", stated[word]) for word in ("m", "n", "k") if stated.get(word)
    ]
    details += [(word, stated[word]) for word in ("groups", "multicast") if word in stated]
    arch = kernel.split("_", 1)[0]
    return KernelName(
        name=name,
        family="deepgemm",
        role="gemm" if "gemm" in kernel else "copy" if "transpose" in kernel or "pack" in kernel else "other",
        arch=arch if arch.startswith("sm") and arch[2:].isdigit() else None,
        types=_types(kernel),
        tile=(stated["bm"], stated["bn"], stated["bk"]) if stated else None,
        stages=stated.get("stages"),
        kernel=kernel,
        details=tuple(details),
        unparsed=spelling.text[spelling.open :] if order is None and spelling.open >= 0 else None,
    )


def _form(path: str, kernel: str) -> str:
    if kernel == "fp8_gemm_kernel":
        return "dpsk" if path.startswith("dpsk") else "deep_gemm"
    if kernel.startswith("sm90_fp8_gemm_1d2d_impl"):
        return "1d2d"
    return "1d1d" if kernel.startswith(("sm100_fp8_gemm_1d1d", "sm100_fp8_fp4_gemm_1d1d")) else kernel


def _types(kernel: str) -> Types | None:
    if "fp8_fp4" in kernel:
        return Types(a="e4m3", b="e2m1")
    if "fp8" in kernel:
        return Types(a="e4m3", b="e4m3")
    return Types(a="bf16", b="bf16") if "bf16" in kernel else None
