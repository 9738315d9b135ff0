# ruff: noqa: E501 - kernel names are long, and stand whole
"""What single names state, family by family: real names from traces and public reports, in the spellings that profilers print."""

import pytest
from msgspec.structs import replace

from tracediff.kernels import KernelName, Types, describe, differing_fields, explain, parse

SPLITK_REDUCE = (
    "void cublasLt::splitKreduce_kernel<(int)32, (int)16, int, __half, __half, float, __half, (bool)0, float, __half, __half, "
    "(bool)1, (bool)0, (bool)0, (bool)0>(cublasLt::cublasSplitKParams<T6>, const T4 *, const T10 *, T9 *, T5 *)"
)
FLASH3 = (
    "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<2, "
    "cute::tuple<cute::C<1>, cute::C<1>, cute::C<1> >, cute::tuple<cute::C<128>, cute::C<80>, cute::C<256> >, 256, "
    "cutlass::bfloat16_t, float, cutlass::arch::Sm90, {causal}, false, false, true, true, false, false, true, true, true, "
    "true, false, cutlass::bfloat16_t, 1>, flash::CollectiveEpilogueFwd<cute::tuple<cute::C<128>, cute::C<256>, "
    "cute::C<80> >, cute::tuple<cute::C<1>, cute::C<1>, cute::C<1> >, cutlass::bfloat16_t, cutlass::arch::Sm90, 256, true, "
    "true, {split}, false, 1>, flash::VarlenDynamicPersistentTileScheduler<128, 80, 256, 128, true> > > >"
)
MANGLED_GEMM = (
    "_ZN7cutlass13device_kernelINS_4gemm6kernel13GemmUniversalIN4cute5tupleIJiiiiEEENS1_10collective13CollectiveMmaINS1_34"
    "MainloopSm90TmaGmmaWarpSpecializedILi6ENS5_IJNS4_1CILi2EEENSA_ILi1EEESC_EEENS1_32KernelTmaWarpSpecializedPingpongEEE"
    "NS5_IJNSA_ILi128EEESG_NSA_ILi64EEEEEENS_6half_tENS5_IJlSC_lEEESJ_SK_NS4_8TiledMMAINS4_8MMA_AtomIJNS4_4SM904GMMA26"
    "MMA_64x128x16_F32F16F16_SSILNSO_5MajorE0ELSQ_0ELNSO_7ScaleInE1ELSR_1EEEEEENS4_6LayoutINS5_IJSC_SC_SC_EEE"
)
DEMANGLED_GEMM = (
    "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cute::tuple<int, int, int, int>, "
    "cutlass::gemm::collective::CollectiveMma<cutlass::gemm::MainloopSm90TmaGmmaWarpSpecialized<6, cute::tuple<cute::C<2>, "
    "cute::C<1>, cute::C<1> >, cutlass::gemm::KernelTmaWarpSpecializedPingpong>, cute::tuple<cute::C<128>, cute::C<128>, "
    "cute::C<64> >, cutlass::half_t, cute::tuple<long, cute::C<1>, long>, cutlass::half_t, cute::tuple<long, cute::C<1>, "
    "long>, cute::TiledMMA<cute::MMA_Atom<cute::SM90::GMMA::MMA_64x128x16_F32F16F16_SS<(cute::SM90::GMMA::Major)0> > > > > >"
)


def test_nvjet_states_everything_but_the_split_factor() -> None:
    kernel = parse("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT")
    assert (kernel.family, kernel.role, kernel.arch) == ("nvjet", "gemm", "sm90")
    assert kernel.types == Types(a="f16", b="f16", accumulate="f32", output="f16")
    assert (kernel.tile, kernel.stages, kernel.cluster) == ((128, 8, 64), 12, (4, 1))
    assert (kernel.split_k, kernel.split_k_form) == (None, "stated")
    assert kernel.unparsed is None


def test_an_nvjet_name_without_split_token_states_an_unsplit_sum() -> None:
    assert parse("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_TNT").split_k_form == "none"


def test_an_nvjet_name_cut_short_states_nothing_about_splitting() -> None:
    assert parse("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz").split_k_form is None


def test_a_cutlass_name_cut_inside_its_interleaved_layouts_states_none() -> None:
    assert parse("cutlass_75_tensorop_s8_i8816gemm_s8_256x128_64x2_n32t32_align16").layout == "n32t32"
    assert parse("cutlass_75_tensorop_s8_i8816gemm_s8_256x128_64x2_n32t").layout is None


def test_an_unknown_type_letter_stays_visible() -> None:
    kernel = parse("nvjet_sm90_biu_128x8_64x12_4x1_v_bz_TNT")
    assert kernel.types is not None
    assert (kernel.types.a, kernel.types.output) == ("s8", None)
    assert kernel.unparsed == "biu"


def test_an_unknown_token_stays_visible() -> None:
    assert parse("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_frobK_TNT").unparsed == "frobK"
    assert parse("cutlass_80_tensorop_s16816gemm_bf16_64x64_32x6_nn_align8_frob").unparsed == "frob"
    assert parse("cutlass3x_sm90_tensorop_gemm_f16_f16_f32_f16_f16_64x64x64_1x1x1_0_tnn_align8_frob").unparsed == "frob"
    assert parse("ampere_sgemm_128x64_frob_nn").unparsed == "frob"
    assert parse("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_frob_stage3_execute_kernel").unparsed == "frob"


def test_splitk_reduce_states_the_type_of_its_partial_sums() -> None:
    kernel = parse(SPLITK_REDUCE)
    assert (kernel.family, kernel.role) == ("cublaslt_splitkreduce", "splitk_reduce")
    assert kernel.types == Types(partial="f16", accumulate="f32", output="f16")
    assert kernel.threads == 512


def test_xmma_split_k_kernel_is_the_reduction_and_the_other_one_the_gemm() -> None:
    name = "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_stage3_warpsize1x4x1_ffma_aligna4_alignc4_execute_{}__5x_cublas"
    gemm, reduction = parse(name.format("kernel")), parse(name.format("split_k_kernel"))
    assert (gemm.role, gemm.split_k_form) == ("gemm", None)
    assert (reduction.role, reduction.split_k_form) == ("splitk_reduce", "parallel")
    assert gemm.tile == reduction.tile == (64, 64, 8)


PROCEDURAL = "cutlass_80_simt_sgemm_128x32_8x5_nn_align1"


@pytest.mark.parametrize(
    "spelling",
    [
        PROCEDURAL,
        f"cutlass::Kernel2<{PROCEDURAL}>",
        f"void cutlass::Kernel2<{PROCEDURAL}>({PROCEDURAL}::Params)",
        f"void cutlass::Kernel2<{PROCEDURAL}>(T1::Params)",
        f"void cutlass::Kernel<{PROCEDURAL}>(T1::Params)",
        f"void cutlass__5x_cudnn::Kernel<{PROCEDURAL}>(T1::Params)",
        f"void cutlass_cudnn_infer::Kernel<{PROCEDURAL}>({PROCEDURAL}::Params)",
        f"_ZN7cutlass7Kernel2I{len(PROCEDURAL)}{PROCEDURAL}EEvNT_6ParamsE",
    ],
)
def test_every_spelling_of_a_wrapped_name_is_read_the_same(spelling: str) -> None:
    kernel = parse(spelling)
    assert {**kernel.to_dict(), "name": PROCEDURAL} == parse(PROCEDURAL).to_dict()


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (
            "(int)128, (int)128, (int)32, (int)4, (bool)0, (bool)0, cutlass::half_t, X",
            "(bool)0, (bool)1, (bool)0, (bool)0",
        ),
        ("128, 128, 32, 4, false, false, cutlass::half_t, X", "false, true, false, false"),
        ("128, 128, 32, 4, 0, 0, half_t, X", "0, 1, 0, 0"),
        ("int=128, int=128, int=32, int=4, bool=0, bool=0, cutlass::half_t, X", "bool=0, bool=1, bool=0, bool=0"),
    ],
)
def test_every_spelling_of_template_literals_is_read_the_same(arguments: str, parameters: str) -> None:
    kernel = parse(
        f"void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<{arguments}>, {parameters}, {parameters}>(Params)"
    )
    assert (kernel.head_dim, kernel.tile, kernel.warps) == (128, (128, 32, None), (4,))
    assert (kernel.types, kernel.detail("dropout"), kernel.detail("causal")) == (Types(a="f16", b="f16"), False, True)


@pytest.mark.parametrize("name", [MANGLED_GEMM, DEMANGLED_GEMM])
def test_a_cutlass_template_is_read_mangled_and_demangled(name: str) -> None:
    kernel = parse(name)
    assert (kernel.family, kernel.role, kernel.arch) == ("cutlass3x", "gemm", "sm90")
    assert (kernel.tile, kernel.stages, kernel.cluster) == ((128, 128, 64), 6, (2, 1, 1))
    assert (kernel.mma, kernel.schedule) == ((64, 128, 16), "warpspecialized_pingpong")
    assert kernel.types == Types(a="f16", b="f16", accumulate="f32")


def test_a_wrapper_around_a_cutlass_template_is_named() -> None:
    kernel = parse(
        "void cutlass::device_kernel<vllm::cutlass_3x_gemm_fp8_blockwise<cutlass::bfloat16_t, (int)1, (int)128>>(T1)"
    )
    assert (kernel.family, kernel.role, kernel.detail("wrapper")) == (
        "cutlass3x",
        "gemm",
        "cutlass_3x_gemm_fp8_blockwise",
    )
    assert kernel.unparsed is not None


def test_a_stream_k_scheduler_is_a_form_of_split_k() -> None:
    name = "cutlass3x_sm90_tensorop_gemm_f16_f16_f32_f16_f16_128x128x64_2x1x1_0_tnn_align8{}_warpspecialized_cooperative_epi_tma"
    assert parse(name.format("_stream_k")).split_k_form == "stream-k"
    assert parse(name.format("")).split_k_form is None


def test_trtllm_gen_states_the_split_factor_as_a_number() -> None:
    kernel = parse(
        "gemm_Bfloat16_E4m3E4m3_Fp32_t128x8x256u2_s4_et128x8_m128x8x64_cga1x1x4_16dp256b_splitK4_TN_transOut_schedS_sm100f"
    )
    assert (kernel.split_k, kernel.split_k_form) == (4, "stated")


@pytest.mark.parametrize(("split", "form"), [("true", "split-kv"), ("false", "none")])
def test_flash_attention_3_states_whether_keys_are_split(split: str, form: str) -> None:
    kernel = parse(FLASH3.format(causal="true", split=split))
    assert (kernel.family, kernel.role, kernel.arch, kernel.split_k_form) == ("flash_attn3", "attention", "sm90", form)
    assert (kernel.tile, kernel.head_dim, kernel.stages) == ((128, 80, None), 256, 2)
    assert kernel.detail("causal") is True
    assert kernel.types == Types(a="bf16", b="bf16", accumulate="f32")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (
            "void flash::flash_fwd_splitkv_combine_kernel<Flash_fwd_kernel_traits<128, 64, 256, 4, 0, 0, cutlass::half_t, X>, 4, 3, 1>(P)",
            "flash_attn2",
        ),
        (
            "void cutlass::device_kernel<flash::FlashAttnFwdCombine<cute::tuple<cute::C<8>, cute::C<128> >, 5, 256, 1, false, true, cutlass::bfloat16_t, float, cutlass::arch::Sm90> >",
            "flash_attn3",
        ),
        (
            "void flash::flash_fwd_splitkv_mla_combine_kernel<cutlass::bfloat16_t, float, long, 512, 64>(Flash_fwd_mla_params)",
            "flashmla",
        ),
        (
            "void flashinfer::PersistentVariableLengthMergeStatesKernel<8u, 16u, 8u, 4u, __nv_bfloat16, __nv_bfloat16, int>(P)",
            "flashinfer",
        ),
    ],
)
def test_kernels_that_combine_split_keys_are_reductions(name: str, family: str) -> None:
    kernel = parse(name)
    assert (kernel.family, kernel.role, kernel.split_k_form) == (family, "reduction", "split-kv")


@pytest.mark.parametrize(
    "name",
    [
        "void flash::flash_fwd_splitkv_mla_combine_kernel<cutlass::bfloat16_t, float, long, 512, 64>(Flash_fwd_mla_params)",
        "void flash_fwd_mla_combine_kernel<cutlass::bfloat16_t, 512, 8, 64, 256>(Flash_fwd_mla_params)",
    ],
)
def test_both_of_flashmlas_combining_kernels_state_value_width_and_most_splits(name: str) -> None:
    kernel = parse(name)
    assert (kernel.detail("head_dim_v"), kernel.detail("max_splits")) == (512, 64)
    assert kernel.types is not None
    assert kernel.types.output == "bf16"


def test_flashinfer_states_tiles_and_head_dimension() -> None:
    prefill = parse(
        "void flashinfer::BatchPrefillWithPagedKVCacheKernel<flashinfer::KernelTraits<(flashinfer::MaskMode)1, (unsigned int)128, "
        "(unsigned int)2, (unsigned int)2, (unsigned int)8, (unsigned int)8, (unsigned int)4, (unsigned int)1, "
        "(flashinfer::PosEncodingMode)0, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, int, X>, PagedParams>(T2)"
    )
    decode = parse(
        "void flashinfer::BatchDecodeWithPagedKVCacheKernel<(flashinfer::PosEncodingMode)0, 2u, 1u, 8u, 16u, 2u, 4u, X, Params>(P)"
    )
    assert (prefill.tile, prefill.head_dim, prefill.warps) == ((128, 32, None), 128, (4, 1))
    assert (decode.head_dim, decode.stages, decode.threads) == (128, 2, 128)


def test_marlin_types_are_unpacked_from_their_bits() -> None:
    kernel = parse(
        "void marlin_moe_wna16::Marlin<1125899906909960l, 562949953487106l, 1125899906909960l, 2814749767106568l, 128, 4, 8, 4, "
        "false, 4, 2, false>(int4 const*, int4 const*)"
    )
    assert kernel.types == Types(a="bf16", b="e2m1", output="bf16")
    assert (kernel.tile, kernel.threads, kernel.stages) == ((64, 128, 64), 128, 4)
    assert (kernel.detail("group_size"), kernel.detail("scale_type")) == (32, "ue8m0")


@pytest.mark.parametrize(
    ("name", "family", "role"),
    [
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "nccl", "reduction"),
        ("ncclKernel_AllGather_RING_LL_Sum_int8_t(ncclDevComm*, unsigned long, ncclWork*)", "nccl", "copy"),
        ("Memcpy DtoH (Device -> Pinned)", "memory", "copy"),
        ("[CUDA memset]", "memory", "copy"),
        ("void vllm::rms_norm_kernel<c10::BFloat16, 8, 2, true>(c10::BFloat16*)", "vllm", "reduction"),
        (
            "void vllm::act_and_mul_kernel<c10::BFloat16, &vllm::silu_kernel<c10::BFloat16>, true>(T1 *)",
            "vllm",
            "elementwise",
        ),
        ("void vllm::rotary_embedding_kernel<c10::BFloat16, true>(long const*)", "vllm", "elementwise"),
        ("void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, __nv_bfloat16>(T1 *)", "vllm", "copy"),
        ("fused_moe_kernel", "triton_user", "gemm"),
        ("kernel_unified_attention_2d", "triton_user", "attention"),
        ("triton_poi_fused_mul_silu_3", "triton_inductor", "elementwise"),
        ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_1", "triton_inductor", "reduction"),
        ("triton_tem_fused_mm_7", "triton_inductor", "gemm"),
        (
            "void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float, float, X>(float*)",
            "at_native",
            "reduction",
        ),
        (
            "void at::native::reduce_kernel<(int)512, (int)1, at::native::ReduceOp<float, X>>(T3)",
            "at_native",
            "reduction",
        ),
        ("void sgemm_largek_lds64<true, false, 5, 5, 4, 4, 4, 32>(float*, float const*)", "cublas_gemv_misc", "gemm"),
        ("void gemmSN_TN_kernel<float, 128, 16, 2, 4, 8, 9, false, X, Y>(P)", "cublas_gemv_misc", "gemm"),
        ("void reduce_1Block_kernel<float, 128, 7, X, Y, Z>(float const*)", "cublas_gemv_misc", "reduction"),
        ("void cutlass::Kernel2<cutlass::reduction::kernel::ReduceSplitK<X>>(P)", "cutlass2x", "splitk_reduce"),
        ("void cub::DeviceReduceKernel<X, int>(int*)", "other", "reduction"),
        ("Cijk_Ailk_Bljk_BBS_MT64x32x64_ISA942", "tensile", "gemm"),
        ("trt_volta_scudnn_128x64_relu_small_nn_v1", "cudnn_legacy", "gemm"),
        ("trt_ampere_h16816gemm_128x64_ldg8_stages_64x3_tn", "cublas_legacy", "gemm"),
        (
            "sm86_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize32x64x64_stage6_warpsize2x2x1_tensor16x8x32_fused",
            "xmma",
            "gemm",
        ),
        ("", "other", "other"),
    ],
)
def test_each_library_is_told_with_its_role(name: str, family: str, role: str) -> None:
    kernel = parse(name)
    assert (kernel.family, kernel.role) == (family, role)


def test_tensile_is_foreign() -> None:
    assert parse("Cijk_Ailk_Bljk_BBS_MT64x32x64_ISA942").detail("foreign") is True


def test_an_unknown_name_keeps_itself_as_unparsed() -> None:
    kernel = parse("void frobnicate<int>(int)")
    assert (kernel.family, kernel.unparsed) == ("other", "void frobnicate<int>(int)")


@pytest.mark.parametrize(
    ("first", "second", "changes"),
    [
        (
            "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_TNT",
            "nvjet_sm90_hsh_64x16_64x16_2x1_v_bz_splitK_TNT",
            [
                "tile 128×8×64 → 64×16×64",
                "stages 12 → 16",
                "cluster 4×1 → 2×1",
                "split-K no → yes (factor not in the name)",
            ],
        ),
        (
            "void gemmSN_TN_kernel<float, 128, 16, 2, 4, 8, 9, false, X, Y>(P)",
            "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_stage3_warpsize1x4x1_ffma_execute_kernel__5x_cublas",
            [
                "kernel gemmSN_TN_kernel → xmma gemm",
                "types f32 → f32 × f32 → f32, sums in f32, multiplies f32",
                "layout TN → tn_n",
            ],
        ),
        (
            "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1",
            "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_3_64x128x128_4x1x1",
            ["knob 7 → 3"],
        ),
        (
            "void gemmSN_TN_kernel<float, 128, 16, 2, 4, 8, 9, false, X, Y>(P)",
            "void gemmSN_NN_kernel<float, 128, 16, 2, 4, 8, 9, false, X, Y>(P)",
            ["kernel gemmSN_TN_kernel → gemmSN_NN_kernel", "layout TN → NN"],
        ),
        ("mystery_a", "mystery_b", ["kernel mystery_a → mystery_b"]),
        ("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_TNT",) * 2 + ([],),
    ],
)
def test_differences_are_told_field_by_field(first: str, second: str, changes: list[str]) -> None:
    assert [change.text for change in differing_fields(parse(first), parse(second))] == changes


def test_describe_is_one_line_in_words() -> None:
    assert describe(parse(SPLITK_REDUCE)) == "cublaslt_splitkreduce f16 split-K reduction, splitKreduce_kernel"
    assert describe(parse("void frobnicate<int>(int)")) == "frobnicate, not read: void frobnicate<int>(int)"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("void gemmSN_TN_kernel<float, 128, 16, 2, 4, 8, 9, false, X, Y>(P)", "gemmSN_TN_kernel f32 GEMM"),
        ("sgemm_largek_lds64", "sgemm_largek_lds64 f32 GEMM"),
        ("void reduce_1Block_kernel<float, 128, 7, X>(P)", "reduce_1Block_kernel f32 reduction"),
        (
            "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_stage3_warpsize1x4x1_ffma_execute_split_k_kernel__5x_cublas",
            "xmma f32 split-K reduction, tile 64×64×8, 3 stages, warps 1×4×1",
        ),
        (
            "sm80_xmma_dgrad_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16_stage4_execute_kernel_cudnn",
            "xmma_conv tf32 GEMM, dgrad_implicit_gemm, tile 128×128×16, 4 stages",
        ),
        ("_w8a8_block_fp8_matmul", "GEMM, not read: _w8a8_block_fp8_matmul"),
    ],
)
def test_describe_says_which_function_multiplies_where_the_family_does_not(name: str, line: str) -> None:
    assert describe(parse(name)) == line


def test_explain_names_the_same_form_twice_by_its_place() -> None:
    tokens = {token.text: token for token in explain("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT")}
    assert tokens["128x8"].meaning == "tile M×N of one CTA"
    assert tokens["64x12"].meaning == "k-step × pipeline stages"
    assert tokens["4x1"].meaning == "thread-block cluster"
    assert tokens["v"].certainty == "inferred"


XMMA = "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_stage3_warpsize1x4x1_ffma_aligna4_alignc2_execute_{}__5x_cublas"


@pytest.mark.parametrize(
    ("name", "text", "meaning"),
    [
        (XMMA.format("kernel"), "execute_kernel", "the kernel itself; whether K is split is not visible"),
        (XMMA.format("split_k_kernel"), "execute_split_k_kernel", "the reduction behind a split-K GEMM"),
        (XMMA.format("segment_k_off_kernel"), "execute_segment_k_off_kernel", "work not cut along k"),
        (XMMA.format("kernel"), "aligna4", "alignment of A, in elements"),
        (XMMA.format("kernel"), "alignc2", "alignment of C, in elements"),
        (XMMA.format("kernel"), "5x_cublas", "library it is built into"),
        ("cutlass_80_tensorop_s8_i16832gemm_s8_128x128_64x3_tn_align16", "i16832gemm", "accumulator letter"),
        ("Cijk_Ailk_Bljk_BBS_BH_Bias_MT64x32x64_ISA942", "Bias", "AMD's tuning word"),
        ("Cijk_Ailk_Bljk_BBS_BH_Bias_MT64x32x64_ISA942", "Bljk", "index order of an operand"),
        ("triton__0d1d23d", "0d1d23d", "kinds of the arguments"),
        ("triton_poi_fused_mm_add_0", "mm", "part of a fused operation's name"),
        ("ncclDevKernel_Generic_4(ncclDevKernelArgsStorage<4096ul>)", "Generic_4", "any collective"),
        (
            "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1_kernel0_0",
            "knob_7",
            "number of the variant",
        ),
    ],
)
def test_explain_takes_together_what_has_one_meaning(name: str, text: str, meaning: str) -> None:
    (found,) = (token for token in explain(name) if token.text == text)
    assert meaning in found.meaning


def test_explain_tells_each_type_of_a_block_scaled_gemm_by_its_place() -> None:
    name = (
        "cutlass3x_sm100_bssptensorop_bsspgemm_ue4m3xe2m1_ue8m0xe2m1_f32_f16_e2m1_128x128x256_0_vs32_tnt_align64_o_1sm"
    )
    assert [token.meaning.partition(" (")[0] for token in explain(name)[4:9]] == [
        "type of A",
        "type of B",
        "type of the accumulator",
        "type of C",
        "type of D",
    ]


def test_explain_of_a_template_names_its_arguments() -> None:
    tokens = explain(SPLITK_REDUCE)
    assert tokens[0].text == "cublasLt::splitKreduce_kernel"
    assert (tokens[4].text, tokens[4].meaning) == ("__half", "type of the partial sums")


def test_results_are_frozen() -> None:
    kernel = parse("ampere_sgemm_128x64_nn")
    assert isinstance(kernel, KernelName)
    with pytest.raises(AttributeError):
        kernel.family = "nvjet"  # type: ignore[misc]


def test_a_return_type_of_enable_if_ends_with_the_first_type():
    name = "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, float>(std::enable_if<true, int>::type x)"
    assert parse(name) == replace(parse("void internal::gemvx::kernel<int, float>(int)"), name=name)
