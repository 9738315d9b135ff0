"""What each name reads as, whole: what `test_name_corpus.py` has no checked value for must not change unnoticed either.

tests/gold/kernels/ holds a file per family: names, each with its line for people and every field it states, then what
their parts mean.
"""

import json
from pathlib import Path

import pytest

from tests.golden import assert_golden
from tracediff.kernels import describe, explain, parse

CORPUS = Path(__file__).parent / "kernel_names.jsonl"
LONGEST = 100
TOLD = 4

# Forms that the corpus lacks.
NAMES = (
    "ampere_fp16_s16816cudnn_fp16_128x128_ldg8_relu_f2f_exp_interior_nhwc_stages_32x5_tn_v1",
    "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_fp8_knob_3_64x128x128_4x1x1_cga1x1x1_kernel0_0",
    "cutlass3x_sm90_tensorop_s64x128x16gemm_grouped_f16_f16_f32_f16_f16_128x128x64_1x1x1_0_tnn_align8_warpspecialized_cooperative_ptr_array_epi_tma",
    "cutlass_75_tensorop_f16_s1688fprop_analytic_f16_256x128_32x2_nhwc_depthwise",
    "cutlass_75_tensorop_f16_s1688gemm_f16_256x128_sliced1x2_32x2_tn_align8_splitK_serial",
    "cutlass_80_tensorop_c1688gemm_planar_complex_array_f16_64x64_32x3_tn_align8",
    "cutlass_80_tensorop_f16_s16816fprop_optimized_f16_128x128_sliced1x2_32x3_nhwc_align8_splitK_parallel",
    "cutlass_80_tensorop_h16816gemm_grouped_128x128_32x3_tn_align8_scheduleDevice",
    "cutlass_tensorop_f16_s16816fprop_fixed_channels_f16_relu_128x128_32x3_nhwc_group_single_align8",
    "cutlass_tensorop_s1688dgrad_optimized_tf32_128x64_16x4_nhwc_unity_stride_align4",
    "fmha_cutlassB_f16_aligned_64x64_k64_dropout_seqaligned_sm80",
    "ncclDevKernel_Generic_4(ncclDevKernelArgsStorage<4096ul>)",
    "nvjet_sm100_qqtst_128x128_128x6_2x1_2cta_v_bz_Avec16UE4M3_Bvec16UE4M3_ovscale_TNN",
    "nvjet_sm90_hsh_128x128_64x6_2x1_v_bz_algo2_TNT",
    "nvjet_sm90_tst_128x128_64x6_2x1_v_bz_bias_relu_aux_TNT",
    "sm80_xmma_wgrad_implicit_gemm_indexed_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x128x64_stage3_warpsize2x2x1_g1_ffma_aligna4_alignc4_t1r3s3_algo2_execute_split_k_kernel__5x_cudnn",
    "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x128x64_cgasize2x1x1_warpgroupsize1x1x1_g1_execute_segment_k_on_kernel__5x_cudnn",
    "sm90_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize128x128x64_cgasize2x1x1_warpgroupsize1x1x1_execute_segment_k_on_kernel__5x_cublas",
    "void Marlin<1125899906843648l, 1125899907892224l, 1125899906"
    "843648l, 1125899906843648l, 256, 1, 8, 8, true, 4, 8, false>(int4 const*)",
    "void flash::flash_fwd_splitkv_combine_kernel<Flash_fwd_kerne"
    "l_traits<128, 64, 128, 4, false, false, cutlass::half_t>, 4, 2, true>(flash::Flash_fwd_params)",
    "void flash::flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128, 64, 128, 4, false, false, cutlass::half_t>, "
    "Is_causal, false, false, true, true, true, false>(flash::Flash_fwd_params)",
    "volta_fp16_s884gemm_fp16_128x64_splitK_ldg8_f2f_nn",
    "volta_sgemm_128x32_sliced1x4_medium_nn",
    "cutlass3x_sm100_bstensorop_s128x128x32gemm_block_scaled_ue8m0xe4m3_ue4m3xe2m1_f32_f16_ue8m0xe2m1_128x256x128_0x0x1_0_tnt_align16_1sm_o_vs32",
    "cutlass3x_sm120_bstensorop_s16x8x64gemm_block_scaled_ue4m3xe2m1_ue8m0xe2m1_f32_void_bf16_128x128x128_1x1x1_0_tnt_align32_warpspecialized_cooperative_epi_tma",
    "sm80_xmma_deconv_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x64x32_stage3_warpsize2x2x1_g1_tensor16x8x16_execute_kernel_trt",
    "sm80_xmma_conv_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x64x32_stage3_warpsize2x2x1_g1_tensor16x8x16_execute_kernel_trt",
    "void deep_gemm::sm90_bf16_gemm_impl<0u, 0u, 0u, 4096u, 7168u, 128u, 128u, 64u, 1u, 128u, 128u, 128u, 4u, 128u, "
    "256u, 2u, true, 132u, (deep_gemm::GemmType)0>(int*)",
    "void deep_gemm::sm100_fp8_fp4_gemm_1d1d_impl<(cute::UMMA::Major)0, (cute::UMMA::Major)0, 32u, 32u, 0u, 4096u, "
    "7168u, 128u, 128u, 128u, 1u, 128u, 128u, 128u, 4u, 128u, 128u, 2u, true, 148u, (deep_gemm::GemmType)0>(int*)",
    "void deep_gemm::sm90_fp8_gemm_1d2d_impl<0u, 4096u, 7168u, 1u, 128u, 128u, 128u, 128u, 4u, 3u, 128u, 256u, 2u, "
    "true, 132u, (deep_gemm::GemmType)0>(int*)",
    "void flashinfer::BatchDecodeWithPagedKVCacheKernel<(flashinfer::PosEncodingMode)0, 2u, 1u, 8u, 16u, 8u, 1u, "
    "X, P>(P)",
    "volta_gcgemm_64x32_nn",
    "volta_h884gemm_128x64_tn_stages",
    "trt_turing_h1688gemm_128x128_ldg8_relu_stages_32x1_tn_v1",
    "ampere_fp16_s16816gemm_fp16_128x64_sliced1x2_ldg8_f2f_stages_64x5_tn",
    "volta_fp16_s884cudnn_fp16_256x128_ldg8_splitK_relu_f2f_exp_small_nhwc2nchw_tn_v1",
    "fmhaSm100fKernel_QkvBfloat16OBfloat16H128PagedKvCausalP64MultiCtasKvVarSeqQ8Kv128StaticSwapsAbForGen",
    "fmhaSm100aKernel_QE4m3KvE2m1OFp16HQk192HV128SeparateQkvDenseVarSeqQ128Kv128PersistentContext",
    "bmm_E4m3_E2m1E2m1_Fp32_t128x8x512u2_s6_et128x8_m128x8x32_cga1x1x1_16dp256b_rM_TN_transOut_schedS_bN_rgTma_clmp_swiGlu_sm100f",
    "gemm_Bfloat16_E4m3_Fp32_t128x64x256_s4_et64x64_m64x64x32_cga1x1x1_splitK4_BN_sm100a",
    "gemm_Bfloat16_E4m3_Fp32_t128x64x256_s4_et64x64_m64x64x32_cga1x1x1_newWord_splitK4_BN_sm100a",
    "nvjet_sm120_hss_mma_128x64x64_3_64x32x64_tmaAB",
    "cutlass_tensorop_d884syrk_64x64_16x4_n_l_align1",
    "cutlass_tensorop_d884trmm_64x64_16x4_nn_ls_l_nu_align1",
    "cutlass_tensorop_z884trmm_64x64_16x4_cn_rs_u_un_align1",
    "cutlass_tensorop_z884hemm_64x64_16x4_nn_rs_u_align1",
    "cutlass_tensorop_d884syr2k_64x64_16x4_n_u_align1",
    "cutlass_tensorop_d884symm_64x64_16x4_nn_ls_l_align1",
    "cutlass_tensorop_z884herk_64x64_16x4_h_l_align1",
    "cutlass_tensorop_z884her2k_64x64_16x4_h_l_align1",
    "cutlass_tensorop_f16_s16816fprop3d_optimized_f16_128x128_32x3_ndhwc_align8",
    "cutlass_tensorop_f16_s16816dgrad3d_optimized_f16_128x128_32x3_ndhwc_unity_stride_align8",
    "cutlass_tensorop_f16_s16816wgrad3d_analytic_f16_128x128_32x3_ndhwc_align8",
    "cutlass_tensorop_f16_s16816deconv_fixed_stride_dilation_f16_128x128_32x3_nhwc_align8",
    "cutlass_tensorop_f16_s16816fprop_few_channels_f16_128x128_32x3_nhwc_align2",
    "cutlass_simt_sfprop_fixed_stride_dilation_128x128_8x2_8x8x8x8_filter3x3_stride1x1_dilation1x1_nhwc_align1",
    "cutlass_80_tensorop_h16816gemm_grouped_128x128_32x3_tn_align8_scheduleHost",
    "cutlass_simt_dgemm_64x64_8x2_cc_align1",
    "kepler_sgemm_128x64_nn",
    "pascal_fp16_sgemm_fp16_128x64_tt",
    "hopper_fp64_dgemm_64x64_nc",
    "volta_int32_i8816gemm_int8_128x128_ldg16_mufu_cn",
    "volta_uint8_i8816gemm_uint8_128x128_raggedMn_tc",
    "turing_bf16_s1688gemm_bf16_128x128_gelu_ct",
    "ampere_tf32_s1688gemm_tf32_128x128_cc_v1",
    "cudnn_infer_ampere_scudnn_128x32_relu_small_nn_v1",
    "maxwell_scudnn_winograd_128x128_ldg1_ldg4_mobile_relu_tile148t_nt",
    "volta_scudnn_128x64_stridedB_splitK_interior_nn_v1",
    "cutlass3x_sm90_tensorop_s64x128x16gemm_f16_f16_f32_f16_f16_128x128x64_1x1x1_0_tnn_align8_unspecialized_nopf_tmapf_bias_f16_dgelu",
    "cutlass3x_sm90_tensorop_s64x128x16gemm_f16_f16_f32_f16_f16_128x128x64_1x1x1_0_tnn_align8_cpasync_aux_scalemax_valpha_vbeta_amax_absmax",
    "cutlass3x_sm100_tensorop_s128x128x16gemm_f16_f16_f32_f16_f16_128x128x64_1x1x1_0_tnn_align8_q_o_vs16_vs32_vs64_ultra_2sm_drelu",
    "nvjet_sm90_hsh_128x128_64x6_2x1_v_badd_drelu_dgelu_dbias_bgrada_bgradb_alignCD8_TNT",
    "nvjet_sm90_hsh_128x128_64x6_2x1_h_bx_coopB_bias_gelu_NTN",
    "Custom_Cijk_Ailk_Bljk_HHS_BH_MT64x64x32_MI16x16x1_ISA942",
    "GemmGatedActKernel_E4m3_E4m3_Fp32_t128x64x256_s4_et64x64_m64x64x32_cga1x1x1_geGlu_sm100a",
    "gemm_Bfloat16_E4m3_Fp32_t128x64x256_s4_et64x64_m64x64x32_cga1x1x1_relu2_ldgsts_schedP4_biasM_sm100a",
    "cudnn_generated_fort_native_sdpa_sm100_flash_bprop_tcgen05_mxfp8_knob_3_64x128x128_4x1x1_cga2x1x1_kernel0_0",
    "void kPercentileClipping<float, 2048, 4>(float*)",
    "void kInt8VectorQuant<__half, 1024, 0>(__half*)",
    "_matmul_NNN_fp64xfp64xfp64_64x64x32x1",
    "void flash::flash_bwd_convert_dq_kernel<Flash_bwd_kernel_traits<64, 128, 128, 8, 4, 4, 4, false, false, "
    "cutlass::half_t> >(flash::Flash_bwd_params, int)",
    "void flash::flash_bwd_convert_dkv_kernel<Flash_bwd_kernel_traits<64, 128, 128, 8, 4, 4, 4, false, false, "
    "cutlass::half_t> >(flash::Flash_bwd_params)",
    "void flash::flash_bwd_dot_do_o_kernel<true, Flash_bwd_kernel_traits<64, 128, 128, 8, 4, 4, 4, false, false, "
    "cutlass::half_t> >(flash::Flash_bwd_params)",
    "void fmha_bwd_dot_do_o_kernel<FMHA_kernel_traits<256, 64, 16, 1, 8, 8u, __half> >(FMHA_dgrad_params)",
    "void scal_kernel<float, float, 1, true, 6, 5, 5, 3>(cublasTransposeParams<float>, float const*, float*, "
    "float const*)",
    "void scal_64addr_kernel<float, float>(float*)",
    "[CUDA Memcpy DtoH]",
    "void cublasLt::epilogue::impl::globalKernel<8, 32, float>(float*)",
)


def readings():
    """Names with what they read as, by family."""
    names = [json.loads(line)["name"] for line in CORPUS.read_text("utf-8").splitlines()]
    by_family = {}
    for name in (*names, *NAMES):
        by_family.setdefault(parse(name).family, []).append(name)
    return by_family


def told(name):
    kernel = parse(name)
    stated = {field: value for field, value in kernel.to_dict().items() if value not in (None, {}, [])}
    stated.pop("name")
    if stated.get("types"):
        stated["types"] = {part: value for part, value in stated["types"].items() if value is not None}
    return "\n".join((name[:LONGEST], f"  {describe(kernel)}", f"  {json.dumps(stated, ensure_ascii=False)}", ""))


def meant(names):
    """Every meaning that a token of these names has, with how sure it is and the first tokens that have it."""
    found = {}
    for name in names:
        for token in explain(name):
            found.setdefault(f"{token.meaning} ({token.certainty})", {})[token.text[:LONGEST]] = True
    return "\n".join(f"{meaning}: {'  '.join(list(tokens)[:TOLD])}" for meaning, tokens in found.items()) + "\n"


READINGS = readings()


@pytest.mark.parametrize("family", sorted(READINGS))
def test_names_cut_after_any_token_or_without_one_are_read_too(family):
    for name in READINGS[family]:
        tokens = name.split("_")
        for place in range(1, len(tokens)):
            cut = "_".join(tokens[:place])
            shorter = "_".join([*tokens[:place], *tokens[place + 1 :]])
            assert {parse(each).name for each in (cut, cut + "_", shorter)} == {cut, cut + "_", shorter}


def test_no_detail_is_stated_twice():
    for name in (name for names in READINGS.values() for name in names):
        words = [word for word, _ in parse(name).details]
        assert len(set(words)) == len(words), name


@pytest.mark.parametrize("family", sorted(READINGS.keys() - {"other"}))
def test_every_word_that_a_grammar_reads_is_explained(family):
    for name in READINGS[family]:
        unread = set((parse(name).unparsed or "").split("_"))
        unexplained = [token.text for token in explain(name) if token.meaning == "not read"]
        assert set("_".join(unexplained).split("_")) - {""} <= unread, name


@pytest.mark.parametrize("family", sorted(READINGS))
def test_a_name_reads_as_it_did(family):
    names = READINGS[family]
    assert_golden("\n".join([*map(told, names), meant(names)]), f"kernels/{family}.txt")
