"""What the smaller families' grammars read, name by name."""

import pytest

from tracediff.kernels import Types, describe, explain, parse
from tracediff.kernels.registry import FAMILIES


def test_triton_kernels_products_print_their_configuration():
    kernel = parse("_matmul_ogs_NNT_bf16xbf16xmxfp4_16x128x256x4")
    assert (kernel.family, kernel.role, kernel.kernel) == ("triton_user", "gemm", "_matmul_ogs")
    assert kernel.types == Types(a="bf16", b="mxfp4", output="bf16")
    assert (kernel.tile, kernel.split_k, kernel.split_k_form) == ((16, 128, 256), 4, "stated")
    assert (kernel.layout, kernel.details) == ("NNT", ())
    assert describe(kernel) == "triton_user bf16×mxfp4 GEMM, _matmul_ogs, tile 16×128×256, split-K 4"


def test_triton_kernels_products_may_be_persistent_and_unsplit():
    kernel = parse("_p_matmul_ogs_NTN_fp16xfp8e4nvxfp8e5_128x256x128x1_acc")
    assert kernel.types == Types(a="e4m3", b="e5m2", output="f16")
    assert (kernel.split_k, kernel.split_k_form, kernel.kernel) == (1, "none", "_p_matmul_ogs")
    assert kernel.details == (("persistent", True), ("accumulates", True))
    assert parse("_matmul_NNN_fp32xfp32xfp32_64x64x32x1").types == Types(a="f32", b="f32", output="f32")


@pytest.mark.parametrize("name", ["_matmul_ogs", "_matmul_ogs_NNT", "_matmul_ogs_NNT_bf16xbf16xmxfp4_16x128x256"])
def test_a_name_without_the_whole_configuration_states_none(name):
    kernel = parse(name)
    assert (kernel.role, kernel.tile, kernel.split_k, kernel.split_k_form) == ("gemm", None, None, None)


@pytest.mark.parametrize(
    ("name", "role", "form"),
    [
        ("_finalize_matmul_scatter_bf16", "reduction", None),
        ("kernel_unified_attention_2d", "attention", "none"),
        ("kernel_unified_attention_3d", "attention", "split-kv"),
        ("reduce_segments", "reduction", "split-kv"),
        ("_fwd_grouped_kernel_stage1", "attention", "split-kv"),
        ("_fwd_kernel_stage1", "attention", "split-kv"),
        ("_fwd_kernel_stage2", "reduction", "split-kv"),
        ("_fwd_kernel", "attention", None),
        ("merge_attn_states_kernel", "reduction", "split-kv"),
        ("kernel_paged_attention_2d", "attention", "none"),
        ("_attn_fwd", "attention", None),
        ("fused_recurrent_gated_delta_rule_fwd", "attention", None),
        ("chunk_gated_delta_rule_fwd_h", "attention", None),
        ("chunk_fwd_kernel_o", "attention", None),
        ("chunk_scaled_dot_kkt_fwd", "attention", None),
        ("fused_gdn_gating", "elementwise", None),
        ("layer_norm_fwd_quant", "reduction", None),
        ("_layer_norm_fwd_1pass", "reduction", None),
        ("l2norm_fwd_2d", "reduction", None),
        ("_causal_conv1d_fwd", "other", None),
        ("_selective_scan_update", "other", None),
        ("write_req_to_token_pool_triton", "copy", None),
        ("bmm_kernel_persistent", "gemm", None),
        ("matmul_kernel_persistent", "gemm", None),
        ("fused_moe_kernel", "gemm", None),
        ("_per_token_group_quant_8bit", "elementwise", None),
    ],
)
def test_serving_libraries_triton_functions(name, role, form):
    kernel = parse(name)
    assert (kernel.family, kernel.role, kernel.split_k_form) == ("triton_user", role, form)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("__myl_FcMulAdd_myl3_12", "gemm"),
        ("__myl_MulMeanAddSqrtDivMul_0x5f3a09c1", "reduction"),
        ("__myl_MaxSubExpSumDivMul_myl0_1", "reduction"),
        ("__myl_SiluMul_myl1_7", "elementwise"),
        ("__myl_ReshTranMove_myl0_2", "copy"),
        ("__myl_MoveCast_myl0_2", "elementwise"),
        ("__myl_MulNovel_myl0_3", "other"),
        ("__myl_Cast", "elementwise"),
        ("_gemm_mha_v2_0x00ff", "attention"),
        ("_gemm_mha_v2", "attention"),
    ],
)
def test_myelin_takes_the_heaviest_operations_role(name, role):
    kernel = parse(name)
    assert (kernel.family, kernel.role, kernel.unparsed) == ("myelin", role, None)


def test_myelin_keeps_what_belongs_to_one_build_in_details():
    assert parse("__myl_FcMulAdd_myl3_12").details == (("ops", "FcMulAdd"), ("graph", 3), ("index", 12))
    assert parse("__myl_Mul_0x5f3a").details == (("ops", "Mul"), ("hash", "0x5f3a"))
    assert parse("_gemm_mha_v2_0x00ff").details == (("hash", "0x00ff"),)
    assert parse("__myl_").family == "other"


@pytest.mark.parametrize(
    ("name", "role", "element", "threads"),
    [
        ("void kgemm_4bit_inference_naive<__nv_bfloat16, 128, 16>(int, int, int)", "gemm", "bf16", 128),
        ("void kgemm_4bit_inference_naive<__half, (int)128, (int)16>(int)", "gemm", "f16", 128),
        ("void kQuantizeBlockwise<float, 4096, 4, 0, 0>(float*)", "elementwise", "f32", None),
        ("void kDequantizeBlockwise<__half, 512, 64, 8, 2>(float*)", "elementwise", "f16", None),
        ("void kPreconditionOptimizer32bit1State<float, 3, 4096, 8>(float*)", "reduction", "f32", None),
        ("void kdequant_mm_int32_fp16<4, 512, 0>(int*)", "elementwise", None, None),
        ("void kspmm_coo_very_sparse_naive<__half, 8, 16>(int*)", "gemm", "f16", 8),
        ("kOptimizer32bit2State", "elementwise", None, None),
    ],
)
def test_bitsandbytes(name, role, element, threads):
    kernel = parse(name)
    assert (kernel.family, kernel.role, kernel.threads) == ("bitsandbytes", role, threads)
    assert kernel.types == (Types(a=element) if element else None)


def test_flash_attention_1():
    kernel = parse("void fmha_fwd_loop_kernel<FMHA_kernel_traits<256, 64, 16, 1, 4, 8u, __half>, true, false, true>(P)")
    assert (kernel.family, kernel.role, kernel.tile, kernel.head_dim) == (
        "flash_attn1",
        "attention",
        (16, 256, None),
        64,
    )
    assert (kernel.warps, kernel.split_k_form) == ((1, 4), "none")
    assert kernel.types == Types(a="f16", b="f16")
    assert kernel.details == (("direction", "fprop"), ("dropout", True), ("causal", False))
    assert kernel.unparsed is None
    backward = parse("void fmha_bwd_dq_dk_dv_loop_kernel<FMHA_kernel_traits<cut")
    assert (backward.family, backward.tile, backward.details) == ("flash_attn1", None, (("direction", "bprop"),))
    assert parse("fmha_fwd_loop_kernel").unparsed is None


def test_every_family_that_explains_parts_explains_its_own_names():
    for family in FAMILIES:
        if hasattr(family, "MEANINGS"):
            assert family.MEANINGS.tokens or family.MEANINGS.procedural or family.MEANINGS.arguments
    tokens = explain("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT")
    assert [token.certainty for token in tokens].count("unknown") == 0


@pytest.mark.parametrize("printed", ["4", "(int)4", "int=4", "16"])
def test_the_width_of_pytorchs_vectorized_access(printed):
    name = f"void at::native::vectorized_elementwise_kernel<{printed}, at::native::CUDAFunctor_add<float> >(int)"
    width = int(printed.removeprefix("(int)").removeprefix("int="))
    assert parse(name).details == (("vector", width),)


@pytest.mark.parametrize("operation", ["Sum", "Prod", "Max", "Min", "MinMax", "PreMulSum", "SumPostDiv", "Avg"])
def test_nccl_operations(operation):
    kernel = parse(f"ncclDevKernel_AllReduce_{operation}_f32_TREE_LL128(ncclDevKernelArgsStorage<4096ul>)")
    assert kernel.details == (("operation", operation), ("algorithm", "TREE"), ("protocol", "LL128"))
    assert kernel.unparsed is None


@pytest.mark.parametrize(("cluster", "dynamic"), [("0x0x1", True), ("2x1x1", False), ("10x1x1", False)])
def test_a_cluster_with_a_side_of_0_is_chosen_at_launch(cluster, dynamic):
    kernel = parse(f"cutlass3x_sm100_tensorop_gemm_f16_f16_f32_f16_f16_128x128x64_{cluster}_0_tnt_align8_1sm")
    assert ("cluster_dynamic" in dict(kernel.details)) is dynamic
    assert kernel.cluster == tuple(map(int, cluster.split("x")))


@pytest.mark.parametrize(
    ("printed", "word"),
    [("f32", "f32"), ("bf16", "bf16"), ("i64", "s64"), ("u8", "u8"), ("f16", "f16"), ("i8", "s8")],
)
def test_nccl_element_types(printed, word):
    kernel = parse(f"ncclDevKernel_AllReduce_Sum_{printed}_RING_LL(ncclDevKernelArgsStorage<4096ul>)")
    assert kernel.family == "nccl"
    assert (kernel.types.a, kernel.types.output) == (word, word)


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("FlashAttentionForwardCombine", "reduction"),
        ("FlashAttentionForwardSm90", "attention"),
        ("attn_fwd", "attention"),
        ("fmha", "attention"),
        ("mla_decode", "attention"),
        ("GemmKernel", "gemm"),
        ("elementwise_add", "other"),
    ],
)
def test_cute_dsl_roles_by_the_words_of_the_function(word, role):
    kernel = parse(f"kernel_cutlass_{word}_0")
    assert (kernel.family, kernel.role) == ("cute_dsl", role)
