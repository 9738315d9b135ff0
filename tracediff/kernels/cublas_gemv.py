"""cuBLAS' matrix-vector and small-matrix kernels, which take over at one or a few rows.

- `internal::gemvx::kernel<int, int, A, B, C, acc, b, b, b, b, L[, b], Params>`: 2^L threads; third truth value: A
  transposed. [threads verified, transposition inferred]
- `gemv2T_kernel_val`, `gemv2N_kernel_val<int, int, A, B, C[, acc], threads, …>`: T or N of A in the name; threads.
  [verified]
- `gemvNSP_kernel<A, B, C[, acc], …>`: the numbers' meaning is unknown. [types verified]
- `gemmSN_TN_kernel`, `gemmSN_NN_kernel<T, threads, …>`: small N; transpositions in the name; threads. [verified]
- `gemmk1_kernel<int, T, threads, …>`: K = 1: outer product. [verified]
- `dot_kernel<T, threads, …>`, `reduce_1Block_kernel<T, threads, …>`: dot product; the second sums the first one's
  parts. [verified]
- `sgemm_largek_lds64`, `magma_sgemmEx_kernel`: fp32 with a large K; `largek` sums split parts in place. [inferred]
- `scal_64addr_kernel`, `cublasLt::epilogue::impl::globalKernel`: scales C; epilogue that could not be fused.
  [inferred]

How each one orders its sums is not in the name, so `split_k_form` is None.

Details: `threads_log2`, `bools` (the truth values as printed).
"""

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.meanings import INFERRED, UNKNOWN, VERIFIED, Argument, Meanings
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, boolean_literal, integer_literal

_REDUCTIONS = ("reduce_1Block_kernel", "splitKreduce")
_ELEMENTWISE = ("scal_64addr_kernel", "scal_kernel", "globalKernel", "copy_kernel", "axpy_kernel")
# Kernels whose first number among the template arguments is the number of threads.
_THREADS_FIRST = ("gemv2T", "gemv2N", "gemmSN", "gemmk1", "dot_kernel", "reduce_1Block")


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of cuBLAS' small kernels."""
    function = spelling.path.rpartition("::")[2]
    kernel = "gemvx::kernel" if spelling.path.endswith("gemvx::kernel") else function
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    details: list[tuple[str, Detail]] = []
    types: list[str] = []
    numbers: list[int] = []
    bools: list[bool] = []
    for argument in listed:
        if (word := cpp_type(argument)) is not None:
            if argument != "int":
                types.append(word)
        elif (truth := _truth(argument)) is not None:
            bools.append(truth)
        elif (number := integer_literal(argument)) is not None:
            numbers.append(number)
    threads = None
    if kernel == "gemvx::kernel":
        if numbers:
            details.append(("threads_log2", numbers[0]))
            threads = 1 << numbers[0] if 0 <= numbers[0] <= 10 else None
        details.append(("bools", tuple(bools[:4])))
    elif function.startswith(_THREADS_FIRST) and numbers:
        threads = numbers[0]
    return KernelName(
        name=name,
        family="cublas_gemv_misc",
        role=_role(function),
        types=_types(kernel, types),
        layout=_layout(kernel, bools),
        kernel=kernel,
        threads=threads,
        details=tuple(details),
    )


def _truth(argument: str) -> bool | None:
    """Read `true` or `(bool)1`; a bare 1 or 0 could be a number."""
    return boolean_literal(argument) if argument.startswith(("(bool)", "bool=", "true", "false")) else None


def _types(kernel: str, types: list[str]) -> Types | None:
    if not types:
        return Types(a="f32", accumulate="f32") if kernel.startswith("sgemm") else None
    a = types[0]
    if kernel.startswith(("gemvx", "gemv2", "gemvNSP")) and len(types) >= 4:
        return Types(a=a, b=types[1], output=types[2], accumulate=types[3])
    return Types(a=a)


def _layout(kernel: str, bools: list[bool]) -> str | None:
    if kernel.startswith("gemmSN_"):
        return kernel.split("_")[1]
    if kernel.startswith(("gemv2T", "gemv2N")):
        return kernel[5]
    if kernel == "gemvx::kernel" and len(bools) > 2:
        return "T" if bools[2] else "N"
    return None


def _role(function: str) -> str:
    if function.startswith(_REDUCTIONS):
        return "reduction"
    return "elementwise" if function.startswith(_ELEMENTWISE) else "gemm"


_SWITCH: Argument = ("a switch whose meaning is unknown", UNKNOWN)

MEANINGS = Meanings(
    arguments={
        ("gemvx::kernel", 0): (
            *(("index type", VERIFIED),) * 2,
            ("type of A", VERIFIED),
            ("type of x", VERIFIED),
            ("type of y", VERIFIED),
            ("type sums are kept in", VERIFIED),
            ("chooses the overload", VERIFIED),
            _SWITCH,
            ("A transposed", INFERRED),
            _SWITCH,
            ("log2 of the threads of a block", VERIFIED),
        ),
    }
)
