"""bitsandbytes' kernels: products with 4-bit weights, quantization, 8-bit optimizers.

    kgemm_4bit_inference_naive<T, threads, bits of T>       one token: a warp sums one output feature
    kQuantizeBlockwise<T, block, per_thread, stochastic, type>, kDequantizeBlockwise<T, tile, threads, per_thread, type>
    kOptimizer32bit2State<T, optimizer>, kOptimizerStatic8bit1StateBlockwise<…>, kPreconditionOptimizer32bit1State<…>

Source: bitsandbytes csrc/kernels.cu. Verified by the functions' names.

- `kgemm_…`, `kspmm_…`: role gemm. `kdequant_mm_int32_fp16` scales what a product of cuBLAS left: elementwise.
- Quantization takes the largest value of a block, which rounds nothing, and an optimizer's step works on one element:
  role elementwise. `kPrecondition…`, `kPercentileClipping` sum: role reduction.

Details: none.
"""

from tracediff.kernels.cpp_types import cpp_type, integer
from tracediff.kernels.model import KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments

_ROLES = (
    ("kgemm_4bit", "gemm"),
    ("kspmm_coo", "gemm"),
    ("kPrecondition", "reduction"),
    ("kPercentileClipping", "reduction"),
    ("kdequant_mm_int32_fp16", "elementwise"),
    ("kQuantize", "elementwise"),
    ("kDequantize", "elementwise"),
    ("kInt8VectorQuant", "elementwise"),
    ("kOptimizer", "elementwise"),
)
FUNCTIONS = tuple(beginning for beginning, _ in _ROLES)


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of bitsandbytes' kernels; None where it is none."""
    function = spelling.path.rpartition("::")[2]
    role = next((role for beginning, role in _ROLES if function.startswith(beginning)), None)
    if role is None:
        return None
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    element = cpp_type(listed[0]) if listed else None
    threads = integer(listed[1].removeprefix("(int)")) if role == "gemm" and len(listed) == 3 else None
    return KernelName(
        name=name,
        family="bitsandbytes",
        role=role,
        types=Types(a=element) if element else None,
        kernel=function,
        threads=threads,
    )
