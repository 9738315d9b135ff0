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
def test_a_name_reads_as_it_did(family):
    names = READINGS[family]
    assert_golden("\n".join([*map(told, names), meant(names)]), f"kernels/{family}.txt")
