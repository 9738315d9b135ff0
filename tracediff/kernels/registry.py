"""The families, in the order in which they are asked.

A name is dispatched by cheap tests on its first word: procedural names (`nvjet_…`) by the word before their first
underscore, C++ names by the function's last component, then by its namespace. One reader then reads the whole name;
where it declines, the name belongs to `other`.
"""

from collections.abc import Callable

from tracediff.kernels import (
    at_native,
    cublas_gemv,
    cublas_legacy,
    cublaslt_splitkreduce,
    cudnn_sdpa,
    cutlass2x,
    cutlass3x,
    flash_attention,
    nvjet,
    xmma,
)
from tracediff.kernels.model import KernelName
from tracediff.kernels.spelling import Spelling, spelled

Reader = Callable[[str, Spelling], KernelName | None]


def _cutlass(name: str, spelling: Spelling) -> KernelName | None:
    """CUTLASS 3.x prints the architecture where 2.x prints a number or nothing."""
    return cutlass3x.read(name, spelling) or cutlass2x.read(name, spelling)


# The word before the first underscore of a procedural name.
_BY_WORD: dict[str, Reader] = {
    "nvjet": nvjet.read,
    "cutlass": _cutlass,
    "cutlass3x": cutlass3x.read,
    "maxwell": cublas_legacy.read,
    "volta": cublas_legacy.read,
    "turing": cublas_legacy.read,
    "ampere": cublas_legacy.read,
    "trt": cublas_legacy.read,
    "cudnn": cudnn_sdpa.read,
}

# The last component of a C++ function's path.
_BY_FUNCTION: dict[str, Reader] = {
    "splitKreduce_kernel": cublaslt_splitkreduce.read,
    "gemv2T_kernel_val": cublas_gemv.read,
    "gemv2N_kernel_val": cublas_gemv.read,
    "gemvNSP_kernel": cublas_gemv.read,
    "gemmSN_TN_kernel": cublas_gemv.read,
    "gemmSN_NN_kernel": cublas_gemv.read,
    "gemmk1_kernel": cublas_gemv.read,
    "dot_kernel": cublas_gemv.read,
    "reduce_1Block_kernel": cublas_gemv.read,
    "sgemm_largek_lds64": cublas_gemv.read,
    "magma_sgemmEx_kernel": cublas_gemv.read,
    "scal_64addr_kernel": cublas_gemv.read,
    "flash_fwd_kernel": flash_attention.read,
    "flash_fwd_splitkv_kernel": flash_attention.read,
    "flash_fwd_splitkv_combine_kernel": flash_attention.read,
}


def parse(name: str) -> KernelName:
    """Read a kernel's demangled, mangled or procedural name.

    Never raises, whatever the text. A name that no family reads comes back with family and role `other` and itself as
    `unparsed`.
    """
    spelling = spelled(name)
    reader = _reader(spelling)
    found = reader(name, spelling) if reader is not None else None
    return found or KernelName(name=name, family="other", role="other", unparsed=name)


def _reader(spelling: Spelling) -> Reader | None:
    """Choose the family that reads this name."""
    procedural = spelling.procedural
    word = procedural.partition("_")[0]
    reader = _BY_WORD.get(word)
    if reader is not None:
        return reader
    if word.startswith("sm") and "_xmma_" in procedural:
        return xmma.read
    path = spelling.path
    reader = _BY_FUNCTION.get(path.rpartition("::")[2])
    if reader is not None:
        return reader
    if path.endswith("gemvx::kernel"):
        return cublas_gemv.read
    if path.startswith("at::native::") or "at::native::" in spelling.text:
        return at_native.read
    return None
