"""The families, in the order in which they are asked.

Cheap tests choose one reader: a procedural name (`nvjet_…`, also inside `cutlass::Kernel2<…>`) goes by the word
before its first underscore, a C++ name by its function, then by its namespace, then by a class named inside it.
That reader reads the whole name. Where it declines, or where none is chosen, `other` tells what little it can.
"""

from collections.abc import Callable
from types import ModuleType

from tracediff.kernels import (
    at_native,
    bitsandbytes,
    cublas_gemv,
    cublas_legacy,
    cublaslt_splitkreduce,
    cudnn_legacy,
    cudnn_sdpa,
    cute_dsl,
    cutlass2x,
    cutlass3x,
    cutlass_templates,
    deepgemm,
    flash_attention,
    flash_attention1,
    flash_attention3,
    flashinfer,
    flashmla,
    fmha_cutlass,
    marlin,
    memory,
    myelin,
    nccl,
    nvjet,
    other,
    tensile,
    triton,
    trtllm_gen,
    vllm,
    xmma,
)
from tracediff.kernels.model import KernelName
from tracediff.kernels.spelling import Spelling, spelled

Reader = Callable[[str, Spelling], KernelName | None]

#: Every family's file; `explain` takes the meanings of name parts from it, where it states them.
FAMILIES: tuple[ModuleType, ...] = (
    at_native,
    bitsandbytes,
    cublas_gemv,
    cublas_legacy,
    cublaslt_splitkreduce,
    cudnn_legacy,
    cudnn_sdpa,
    cute_dsl,
    cutlass2x,
    cutlass3x,
    cutlass_templates,
    deepgemm,
    flash_attention,
    flash_attention1,
    flash_attention3,
    flashinfer,
    flashmla,
    fmha_cutlass,
    marlin,
    memory,
    myelin,
    nccl,
    nvjet,
    tensile,
    triton,
    trtllm_gen,
    vllm,
    xmma,
)


def parse(name: str) -> KernelName:
    """Read a kernel's demangled, mangled or procedural name.

    Never raises, whatever the text. A name that no family reads comes back with family `other` and itself as
    `unparsed`.
    """
    spelling = spelled(name)
    word = spelling.procedural.partition("_")[0]
    reader = _BY_WORD.get(word) or _by_form(word, spelling.procedural)
    found = reader(name, spelling) if reader is not None else None
    if found is None and (reader := _by_cpp_name(spelling)) is not None:
        found = reader(name, spelling)
    return found or other.read(name, spelling)


def _cutlass(name: str, spelling: Spelling) -> KernelName | None:
    """CUTLASS 3.x prints the architecture where 2.x prints a number or nothing."""
    return cutlass3x.read(name, spelling) or cutlass2x.read(name, spelling)


def _generation(name: str, spelling: Spelling) -> KernelName | None:
    """`volta_…` may be a GEMM of cuBLAS or a convolution of cuDNN."""
    return cublas_legacy.read(name, spelling) or cudnn_legacy.read(name, spelling)


def _cudnn(name: str, spelling: Spelling) -> KernelName | None:
    return cudnn_sdpa.read(name, spelling) or cudnn_legacy.read(name, spelling)


# The word before the first underscore of a procedural name.
_BY_WORD: dict[str, Reader] = {
    "nvjet": nvjet.read,
    "cutlass": _cutlass,
    "cutlass3x": cutlass3x.read,
    "kepler": _generation,
    "maxwell": _generation,
    "pascal": _generation,
    "volta": _generation,
    "turing": _generation,
    "ampere": _generation,
    "hopper": _generation,
    "trt": _generation,
    "cudnn": _cudnn,
    "fmha": fmha_cutlass.read,
    "triton": triton.read,
    "Cijk": tensile.read,
    "Custom": tensile.read,
    "ncclKernel": nccl.read,
    "ncclDevKernel": nccl.read,
    "bmm": trtllm_gen.read_gemm,
    "gemm": trtllm_gen.read_gemm,
    "Bmm": trtllm_gen.read_gemm,
    "Gemm": trtllm_gen.read_gemm,
    "GemmGatedActKernel": trtllm_gen.read_gemm,
}


def _by_form(word: str, procedural: str) -> Reader | None:
    """Choose by the first word's form, for families whose first word varies."""
    if word.startswith("sm") and procedural.startswith("_xmma_", len(word)):
        return xmma.read
    if word.startswith("fmhaSm"):
        return trtllm_gen.read_fmha
    if procedural.startswith("kernel_cutlass_"):
        return cute_dsl.read
    if procedural.startswith(("__myl_", "_gemm_mha_v2")):
        return myelin.read
    return None


# A C++ function, by its name without namespaces.
_BY_FUNCTION: dict[str, Reader] = {
    "splitKreduce_kernel": cublaslt_splitkreduce.read,
    "flash_fwd_kernel": flash_attention.read,
    "flash_fwd_splitkv_kernel": flash_attention.read,
    "flash_fwd_splitkv_combine_kernel": flash_attention.read,
    "flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel": flash_attention.read,
    "flash_bwd_dot_do_o_kernel": flash_attention.read,
    "flash_bwd_convert_dq_kernel": flash_attention.read,
    "flash_bwd_convert_dkv_kernel": flash_attention.read,
    "fmha_fwd_loop_kernel": flash_attention1.read,
    "fmha_bwd_dq_dk_dv_loop_kernel": flash_attention1.read,
    "fmha_bwd_dot_do_o_kernel": flash_attention1.read,
    "flash_fwd_splitkv_mla_kernel": flashmla.read,
    "flash_fwd_splitkv_mla_combine_kernel": flashmla.read,
    "flash_fwd_mla_combine_kernel": flashmla.read,
    "compute_attn_ws": flash_attention3.read_beta,
    "Marlin": marlin.read,
    "scal_64addr_kernel": cublas_gemv.read,
    "scal_kernel": cublas_gemv.read,
    "dot_kernel": cublas_gemv.read,
    "reduce_1Block_kernel": cublas_gemv.read,
    "magma_sgemmEx_kernel": cublas_gemv.read,
}

# The outermost namespace of a C++ function.
_BY_NAMESPACE: dict[str, Reader] = {
    "at": at_native.read,
    "deep_gemm": deepgemm.read,
    "dpsk": deepgemm.read,
    "flashinfer": flashinfer.read,
    "vllm": vllm.read,
}

_MEMORY = ("Memcpy", "Memset", "memcpy", "memset", "[CUDA mem", "CUDA mem", "[CUDA Mem")
_CUBLAS_FUNCTIONS = ("gemv2T_kernel", "gemv2N_kernel", "gemvNSP_kernel", "gemmSN_", "gemmk1_kernel", "sgemm_largek")

# Words inside a C++ name that tell the family, where neither function nor namespace does.
_BY_CONTENT: tuple[tuple[str, Reader], ...] = (
    ("FlashAttn", flash_attention3.read),
    ("cutlass", cutlass_templates.read),
    ("at::native::", at_native.read),
    ("flashinfer::", flashinfer.read),
    ("Cijk_", tensile.read),
)


def _by_cpp_name(spelling: Spelling) -> Reader | None:
    path = spelling.path
    _, scoped, function = path.rpartition("::")
    reader = _BY_FUNCTION.get(function)
    if reader is None and scoped:
        reader = _BY_NAMESPACE.get(path.partition("::")[0])
    if reader is not None:
        return reader
    if path.endswith(("gemvx::kernel", "epilogue::impl::globalKernel")) or function.startswith(_CUBLAS_FUNCTIONS):
        return cublas_gemv.read
    if function.startswith(bitsandbytes.FUNCTIONS):
        return bitsandbytes.read
    if not scoped and spelling.open < 0:
        return memory.read if spelling.text.startswith(_MEMORY) else triton.read_user
    for word, found in _BY_CONTENT:
        if word in spelling.text:
            return found
    return None
