"""Roles of PyTorch's own kernels by their functions: one that sums never passes for one that does not."""

import pytest

from tracediff.kernels import parse

REDUCTIONS = """
    reduce_kernel cunn_SoftMaxForward softmax_warp_forward vectorized_layer_norm_kernel LayerNormForwardCUDAKernel
    layer_norm_grad_input_kernel GammaBetaBackwardCUDAKernel RowwiseMomentsCUDAKernel
    batch_norm_collect_statistics_kernel GroupNorm1dBackwardKernel rms_norm_kernel RMSNormForwardKernel
    renorm_kernel lpnorm_cleanup cleanup_kernel weight_norm_fwd_first_dim_kernel tensor_kernel_scan_innermost_dim
    cumsum_kernel nll_loss_forward_reduce_cuda_kernel_2d adaptive_average_pool avg_pool2d_out_cuda_frame
    max_pool_forward_nchw argmax_kernel gatherTopK gatherMedian kernelHistogram1D
    EmbeddingBag_updateOutputKernel_sum_mean embedding_bag_nbits_rowwise_offsets_kernel
    embedding_backward_feature_kernel compute_grad_weight segment_reduce_forward_kernel bincount_kernel
    _scatter_gather_elementwise_kernel upsample_bilinear2d_backward_out_frame
    LayerNormReduceGradKernel indexFuncLargeIndex
"""
COPIES = """
    CatArrayBatchedCopy indexSelectLargeIndex index_select_kernel gather_kernel vectorized_gather_kernel
    transpose_readWrite_alignment_kernel permute_kernel index_copy_kernel roll_cuda_kernel flip_cuda_kernel
"""
ELEMENTWISE = """
    fused_dropout_kernel_vec dropout_kernel distribution_elementwise_grid_stride_kernel index_elementwise_kernel
    index_put_kernel fill_kernel triu_tril_kernel upsample_nearest2d_out_frame embedding_kernel
    prelu_cuda_kernel_share_weights glu_kernel kernelPointwiseApply2 pointwise_kernel arange_kernel where_kernel
    masked_fill_kernel range_kernel fused_adam_kernel amp_update_scale_cuda_kernel elementwise_kernel_with_index
"""
OTHERS = "radixFindKthValues sum_and_scatter im2col_kernel grid_sampler_2d_kernel"


@pytest.mark.parametrize(
    ("role", "function"),
    [
        (role, function)
        for role, functions in (
            ("reduction", REDUCTIONS),
            ("copy", COPIES),
            ("elementwise", ELEMENTWISE),
            ("other", OTHERS),
        )
        for function in functions.split()
    ],
)
def test_the_function_tells_the_role(role, function):
    kernel = parse(f"void at::native::(anonymous namespace)::{function}<float, 128>(float*, int)")
    assert (kernel.family, kernel.role) == ("at_native", role)


@pytest.mark.parametrize(
    ("functor", "role"),
    [
        ("UnaryOpFunctor", "elementwise"),
        ("BinaryOpListAlphaFunctor", "elementwise"),
        ("TernaryOpScalarFunctor", "elementwise"),
        ("PointwiseOpScalarFunctor", "elementwise"),
        ("ZeroFunctor", "elementwise"),
        ("LerpFunctor", "elementwise"),
        ("CopyFunctor", "elementwise"),
        ("FusedAdamMathFunctor", "elementwise"),
        ("FusedSgdMathFunctor", "elementwise"),
        ("FusedAdagradMathFunctor", "elementwise"),
        ("LpNormFunctor", "reduction"),
        ("SomethingFunctor", "other"),
    ],
)
def test_foreach_kernels_do_what_their_functor_does(functor, role):
    name = f"void at::native::(anonymous namespace)::multi_tensor_apply_kernel<X, {functor}<float, 1>>(X, int)"
    assert parse(name).role == role


def test_elementwise_kernels_that_copy_are_copies():
    common = "void at::native::{}<4, at::native::{}::operator()>(int)"
    assert parse(common.format("vectorized_elementwise_kernel", "direct_copy_kernel_cuda")).role == "copy"
    assert parse(common.format("vectorized_elementwise_kernel", "mul_kernel_cuda")).role == "elementwise"
    assert parse(common.format("legacy_elementwise_kernel", "direct_copy_kernel_cuda")).role == "copy"
    assert parse(common.format("vectorized_elementwise_kernel", "mul_kernel_cuda")).details == (("vector", 4),)
    assert parse(common.format("unrolled_elementwise_kernel", "mul_kernel_cuda")).details == ()
