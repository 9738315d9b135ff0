"""Roles by the words of a function's name: what sums never passes for what does not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracediff.kernels import parse
from tracediff.kernels.function_words import role_of

NEVER_SUM = {"elementwise", "copy"}


@pytest.mark.parametrize(
    ("function", "role"),
    [
        ("VecQuant4MatMulKernel", "gemm"),
        ("dequantize_mul_mat_vec", "gemm"),
        ("quant_matmul_248_kernel", "gemm"),
        ("gemv_quantized_kernel", "gemm"),
        ("_w8a8_block_fp8_matmul", "gemm"),
        ("scaled_mm_kernel", "gemm"),
        ("vec_dot_q4", "gemm"),
        ("fusedQKNormRopeKernel", "reduction"),
        ("fused_add_rms_norm_kernel", "reduction"),
        ("RMSNormQuantKernel", "reduction"),
        ("l2norm_fwd", "reduction"),
        ("normalize_rows", "reduction"),
        ("moe_sum_kernel", "reduction"),
        ("moe_unpermute_kernel", "reduction"),
        ("finalizeMoeRoutingKernel", "reduction"),
        ("all_reduce_two_shot", "reduction"),
        ("ep_combine", "reduction"),
        ("row_mean_kernel", "reduction"),
        ("flash_attn_decode", "attention"),
        ("paged_attention_v1_kernel", "attention"),
        ("paged_attention_v2_reduce_kernel", "reduction"),
        ("rotary_embedding_kernel", "elementwise"),
        ("silu_and_mul_kernel", "elementwise"),
        ("per_token_group_quant_8bit", "elementwise"),
        ("gather_rows", "copy"),
        ("transpose_cache", "copy"),
        ("reshape_and_cache_flash_kernel", "copy"),
        ("mergeState", "reduction"),
        ("merge_state_v2", "reduction"),
        ("merge_attn_states", "reduction"),
        ("reduce_segments_2d", "reduction"),
        ("concat_and_cache_mla", "copy"),
        ("append_paged_kv", "copy"),
        ("AppendPagedKV", "copy"),
        ("flash_attn_fwd", "attention"),
        ("_attn_fwd_inner", "attention"),
        ("SelfAttention", "attention"),
        ("run_fmha", "attention"),
        ("ft_mha", "attention"),
        ("BatchPrefill", "attention"),
        ("BatchDecode", "attention"),
        ("online_softmax", "reduction"),
        ("logsumexp", "reduction"),
        ("cross_entropy_fwd", "reduction"),
        ("topkGating", "reduction"),
        ("allreduceFusion", "reduction"),
        ("cross_device_reduce_1stage", "reduction"),
        ("DeviceScanKernel", "reduction"),
        ("DeviceSegmentedSort", "reduction"),
        ("matvec_q4", "gemm"),
        ("GemmUniversal", "gemm"),
        ("bmm_fp8", "gemm"),
        ("einsum_3d", "reduction"),
        ("dot_rows", "gemm"),
        ("row_var", "reduction"),
        ("std_fwd", "reduction"),
        ("welford_step", "reduction"),
        ("moments_2d", "reduction"),
        ("chunk_loss", "reduction"),
        ("prefix_scan", "reduction"),
        ("histogram_i64", "reduction"),
        ("tile_reduction", "reduction"),
        ("copy_blocks_kernel", "copy"),
        ("copy_rows", "copy"),
        ("act_and_mul_kernel", "elementwise"),
        ("gelu_tanh", "elementwise"),
        ("fused_rope", "elementwise"),
        ("communicate", "other"),
        ("summary_kernel", "other"),
        ("something_new", "other"),
        ("", "other"),
    ],
)
def test_the_role_of_a_function(function, role):
    assert role_of(function) == role


SUMS = ("norm", "sum", "reduce", "mean", "dot", "mm", "gemm", "gemv", "matmul", "softmax", "scan", "combine")
HARMLESS = ("quant", "rope", "rotary", "copy", "transpose", "gather", "gelu", "silu_and_mul", "fused", "fp8")


@given(
    words=st.lists(st.sampled_from(HARMLESS), max_size=4),
    summing=st.sampled_from(SUMS),
    place=st.integers(0, 4),
    camel=st.booleans(),
)
def test_a_word_of_a_sum_outweighs_every_word_that_is_harmless(words, summing, place, camel):
    words.insert(min(place, len(words)), summing)
    snake = "_".join(words)
    function = "".join(word.capitalize() for word in re.split("_", snake)) if camel else snake
    assert role_of(function) not in NEVER_SUM


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::(anonymous namespace)::"
         "TensorListMetadata<1>, at::native::LpNormFunctor<float, (at::native::NormType)1, float, 1, 1>, float*, int>"
         "(at::native::TensorListMetadata<1>)", "reduction"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::(anonymous namespace)::"
         "TensorListMetadata<2>, at::native::BinaryOpScalarFunctor<float, 2, 1, 1>, std::plus<float>, float>(int)",
         "elementwise"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::TensorListMetadata<1>, "
         "SomeNewFunctor<float>>(int)", "other"),
        ("void at::native::(anonymous namespace)::embedding_backward_kernel<float, long>(int)", "reduction"),
    ],
)  # fmt: skip
def test_pytorch_kernels_over_many_tensors_are_elementwise_only_by_a_known_functor(name, role):
    assert parse(name).role == role
