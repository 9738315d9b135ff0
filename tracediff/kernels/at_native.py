"""PyTorch's own CUDA kernels (`at::native::…`): elementwise, reductions, norms, softmax, copies.

    void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, std::array<char*, 3>>(…)
    void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, …>, …>>(…)

The function says the role; the functor or the host function that made it (`direct_copy_kernel_cuda`, `silu_kernel`,
`MeanOps`) says what is computed, kept as `kind`. A `multi_tensor_apply_kernel` (foreach operations, optimizers) is told
by its functor alone. Source: PyTorch's ATen/native/cuda. Verified by the functions' names; a function in neither list
has role `other`.

Details: `vector` (elements per access of vectorized_elementwise_kernel).
"""

import re

from tracediff.kernels.model import Detail, KernelName
from tracediff.kernels.spelling import Spelling

_REDUCTIONS = (
    "reduce_kernel",
    "softmax",
    "layer_norm",
    "layernorm",
    "rms_norm",
    "rmsnorm",
    "batch_norm",
    "groupnorm",
    "rowwisemoments",
    "cumsum",
    "scan",
    "nll_loss",
    "average_pool",
    "avg_pool",
    "max_pool",
    "argmax",
    "topk",
    "median",
    "histogram",
    "norm_kernel",
    "weight_norm",
    "reducegrad",
    "gammabeta",
    "embedding_bag",
    "embeddingbag",
    "embedding_backward",
    "compute_grad_weight",
    "segment_reduce",
    "bincount",
    "cleanup",
    "lpnorm",
    "scatter_gather_elementwise",
    "indexfunc",
    "backward_out_frame",  # of upsampling: gradients of neighbours are added
)
_COPIES = (
    "catarray",
    "copy",
    "indexselect",
    "index_select",
    "gather",
    "transpose",
    "permute",
    "roll_cuda",
    "flip",
)
_ELEMENTWISE = (
    "elementwise",
    "dropout",
    "distribution",
    "index_put",
    "fill",
    "triu_tril",
    "upsample",
    "embedding",
    "prelu",
    "glu",
    "pointwise",
    "where",
    "masked",
    "range",
    "fused_adam",
    "amp_",
)
# How the names of host functions and functors end: they say what the lambda inside them computes.
_WHAT = (
    "_kernel_cuda",
    "_kernel_impl",
    "_kernel",
    "Functor",
    "Ops",
    "_cuda_out",
    "_functor",
    "FunctorOnSelf_add",
    "Functor_add",
)
# Functors of multi_tensor_apply_kernel (foreach operations and optimizers) that work on one element at a time.
_FOREACH = re.compile(
    r"(?:Unary|Binary|Ternary|Pointwise|Zero|Clamp|Maximum|Minimum|Lerp|Copy|Amp|Fused(?:Adam|Sgd|Adagrad))\w*Functor\w*"
    r"|\w*Op(?:Scalar|List|ScalarList|Tensor|ScalarTensor)?_?Functor_?|FusedAdam\w*|FusedSgd\w*|FusedAdagrad\w*"
)
_WORD = re.compile(r"\w+")
# Where to look for them: behind that come the argument types of nested lambdas.
_WHAT_WITHIN = 600
_VECTOR = re.compile(r"<(?:\(int\)|int=)?(\d{1,2}),")
_COMMON = frozenset({"vectorized_elementwise_kernel", "unrolled_elementwise_kernel", "elementwise_kernel"})
_CONTAINERS = frozenset(
    (
        "gpu_kernel_impl",
        "elementwise_kernel",
        "vectorized_elementwise_kernel",
        "unrolled_elementwise_kernel",
        "reduce_kernel",
        "ReduceOp",
    )
)


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of PyTorch's kernels."""
    kernel = spelling.path.rpartition("::")[2]
    what = None
    if spelling.open >= 0:
        for found in _WORD.finditer(spelling.text, spelling.open, spelling.open + _WHAT_WITHIN):
            word = found.group()
            if word.endswith(_WHAT) and word not in _CONTAINERS:
                what = word
                break
    details: tuple[tuple[str, Detail], ...] = ()
    if kernel == "vectorized_elementwise_kernel" and (width := _VECTOR.match(spelling.text, spelling.open)):
        details = (("vector", int(width.group(1))),)
    return KernelName(
        name=name, family="at_native", role=_role(kernel, what or ""), kind=what, kernel=kernel, details=details
    )


def _role(kernel: str, what: str) -> str:
    if kernel in _COMMON:
        return "copy" if "copy" in what else "elementwise"
    function = kernel.lower()
    if function == "multi_tensor_apply_kernel":
        return "reduction" if "norm" in what.lower() else "elementwise" if _FOREACH.fullmatch(what) else "other"
    if "elementwise" in function and "copy" in what:
        return "copy"
    for role, words in (("reduction", _REDUCTIONS), ("copy", _COPIES), ("elementwise", _ELEMENTWISE)):
        for word in words:
            if word in function:
                return role
    return "other"
