"""What a change of kernels means for the reduction order."""

import pytest

from tests.changed import replace
from tests.diff.rules.make import kernel, log, nvjet, splitk_reduce
from tracediff.diff.result import Verdict
from tracediff.diff.rules import TABLES, decide
from tracediff.diff.verdict import judge_row
from tracediff.kernels import Types, parse


def test_a_kernel_with_the_same_launch_is_the_same_kernel():
    assert decide(nvjet(3), nvjet(3)) == (Verdict.SAME_KERNELS, "same kernel, same launch")


def test_an_operator_of_a_cpu_may_run_other_code_at_another_size():
    operator = kernel("aten::mm", "other", "other", grid=(0, 0, 0), block=(0, 0, 0))
    assert decide(operator, operator) == (Verdict.UNKNOWN, "same name, no launch configuration recorded")


def test_the_same_name_and_launch_with_another_split_k_factor_is_another_order():
    name = "nvjet_sm90_hsh_64x16_64x16_2x1_v_bz_splitK_TNT"
    assert decide(nvjet(3, name=name), nvjet(2, name=name)) == (Verdict.ORDER_CHANGED, "split-K 3 → 2")


def test_another_tile_of_an_unsplit_product_is_the_same_order():
    verdict, reason = decide(nvjet(1), nvjet(1, tile=(128, 16, 64)))
    assert (verdict, reason) == (Verdict.SAME_ORDER, "tile only, unsplit, same k-step")


def test_the_same_factor_across_tiles_is_the_same_order():
    assert decide(nvjet(4), nvjet(4, tile=(128, 16, 64))) == (Verdict.SAME_ORDER, "split-K 4 in both")


def test_the_same_factor_with_another_k_step_is_unknown_unless_the_parts_are_equal():
    coarse, fine = nvjet(3, tile=(128, 8, 128)), nvjet(3)
    assert decide(coarse, fine) == (Verdict.UNKNOWN, "split-K 3 in both, k-step 128 → 64")
    equal = [nvjet(4, tile=(128, 8, step), algorithm=log(k=4096)) for step in (64, 128)]
    assert decide(*equal) == (Verdict.SAME_ORDER, "split-K 4 in both")
    unequal = [nvjet(5, tile=(128, 8, step), algorithm=log(k=4096)) for step in (64, 128)]
    assert decide(*unequal) == (Verdict.UNKNOWN, "split-K 5 in both, k-step 64 → 128")


def test_a_factor_that_nobody_knows_is_unknown():
    assert decide(nvjet(None), nvjet(None, tile=(64, 16, 64))) == (Verdict.UNKNOWN, "split-K factor not known")


def test_a_vector_kernel_against_a_matrix_kernel_is_another_order():
    gemv = kernel("gemv2T_kernel_val", "cublas_gemv_misc", "gemm", kernel="gemv2T_kernel_val")
    verdict, reason = decide(gemv, nvjet(1))
    assert verdict is Verdict.ORDER_CHANGED
    assert reason == "gemv → nvjet GEMM"
    small = kernel("gemmSN_TN_kernel<cublasGemvTensor>", "cublas_gemv_misc", "gemm", kernel="gemmSN_TN_kernel")
    assert decide(gemv, small) == (Verdict.ORDER_CHANGED, "gemv → gemmSN")
    other = kernel("gemvx", "cublas_gemv_misc", "gemm", kernel="gemvx::kernel")
    assert decide(gemv, other) == (Verdict.ORDER_CHANGED, "gemv gemv2T_kernel_val → gemvx::kernel")


def test_two_families_are_unknown():
    cutlass = kernel("cutlass_80_simt_sgemm", "cutlass2x", "gemm", split_k=1)
    xmma = kernel("sm80_xmma_gemm", "xmma", "gemm", split_k=1)
    assert decide(cutlass, xmma) == (Verdict.UNKNOWN, "cutlass2x GEMM → xmma GEMM")


@pytest.mark.parametrize("role", ["elementwise", "copy"])
def test_kernels_that_never_reduce_keep_the_order_whatever_the_launch(role):
    assert decide(kernel("x", role=role), kernel("x", role=role, grid=(9, 1, 1)))[0] is Verdict.SAME_ORDER


def test_a_copy_and_an_elementwise_kernel_are_two_functions_whichever_comes_first():
    walk, copy = kernel("x", role="elementwise"), kernel("y", role="copy")
    assert decide(walk, copy) == (Verdict.UNKNOWN, "elementwise → copy")
    assert decide(copy, walk) == (Verdict.UNKNOWN, "copy → elementwise")


def test_another_elementwise_kernel_may_compute_something_else():
    assert decide(kernel("x", role="elementwise"), kernel("y", role="elementwise")) == (
        Verdict.UNKNOWN,
        "a different elementwise kernel",
    )
    assert decide(kernel("x", role="copy"), kernel("y", role="copy")) == (
        Verdict.SAME_ORDER,
        "moves values, never reduces",
    )


MULTIPLY = "at::native::BinaryFunctor<c10::{0}, c10::{0}, c10::{0}, at::native::binary_internal::MulFunctor<float> >"


def elementwise(
    functor, template="void at::native::vectorized_elementwise_kernel<4, {}, std::array<char*, 3ul> >(int)"
):
    return named(template.format(functor))


def named(name, **fields):
    return replace(kernel(**fields), parsed=parse(name))


def test_one_function_of_the_elements_keeps_the_order_however_memory_is_walked():
    strided = (
        "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl_nocast<{0}>(at::TensorIteratorBase&, "
        "{0} const&)::{{lambda(int)#1}}>(int, at::native::gpu_kernel_impl_nocast<{0}>(at::TensorIteratorBase&))"
    )
    multiply = MULTIPLY.format("Half")
    assert decide(elementwise(multiply), elementwise(multiply, strided)) == (
        Verdict.SAME_ORDER,
        "elementwise, never reduces",
    )
    add = multiply.replace("MulFunctor", "AddFunctor")
    assert decide(elementwise(multiply), elementwise(add)) == (Verdict.UNKNOWN, "a different elementwise kernel")


def test_no_same_order_across_element_types():
    half, brain = (elementwise(MULTIPLY.format(word)) for word in ("Half", "BFloat16"))
    assert decide(half, brain) == (Verdict.UNKNOWN, "element types f16 f32 → bf16 f32")
    gather = "void at::native::(anonymous namespace)::indexSelectSmallIndex<c10::{}, long, unsigned int, 2, 2, -2>(int)"
    half, brain = (named(gather.format(word)) for word in ("Half", "BFloat16"))
    assert decide(half, brain) == (Verdict.UNKNOWN, "element types f16 → bf16")


def test_a_torch_reduction_with_the_same_threads_per_row_keeps_the_order():
    name = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>>>(T3)"
    first = kernel(name, role="reduction", block=(128, 4, 1), grid=(2, 1, 1))
    assert decide(first, kernel(name, role="reduction", block=(128, 4, 1), grid=(4, 1, 1))) == (
        Verdict.SAME_ORDER,
        "same block, rows only",
    )
    other = kernel(name, role="reduction", block=(64, 8, 1), grid=(2, 1, 1))
    assert decide(first, other) == (Verdict.ORDER_CHANGED, "threads per row 128 → 64")
    split = kernel(name, role="reduction", block=(128, 4, 1), grid=(2, 8, 1))
    assert decide(first, split) == (Verdict.ORDER_CHANGED, "grid 2×1×1 → 2×8×1")
    # block.x may count rows here: whether threads share a row otherwise is not known.
    assert decide(first, kernel(name, role="reduction", block=(128, 8, 1), grid=(2, 1, 1))) == (
        Verdict.UNKNOWN,
        "block 128×4×1 → 128×8×1",
    )


def test_a_norm_is_said_to_change_its_order_and_to_show_it_seldom_in_16_bits():
    reduce = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float> > >(int)"
    mean = [named(reduce, block=block) for block in ((512, 1, 1), (256, 2, 1))]
    for word, shown in (
        ("Half", " (seldom shows in 16 bits)"),
        ("BFloat16", " (seldom shows in 16 bits)"),
        ("float", ""),
    ):
        functor = MULTIPLY.format(word).replace("c10::float", "float")
        scale = elementwise(functor)
        pairs, verdict, reason = judge_row([(mean[0], mean[1]), (scale, scale)])
        assert pairs[0].reason == reason
        assert (verdict, reason) == (Verdict.ORDER_CHANGED, "threads per row 512 → 256" + shown)


@pytest.mark.parametrize(
    "name",
    [
        "void vllm::fused_add_rms_norm_kernel<c10::Half, 8>(c10::Half*, long, c10::Half*, float, int)",
        "void vllm::rms_norm_kernel<c10::BFloat16, 8, 2>(c10::BFloat16*, c10::BFloat16 const*, long, float, int, int)",
        "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float, false>(int, float)",
        "void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float, float>(float*, int)",
    ],
)
def test_a_block_that_sums_a_row_keeps_the_order_over_rows_and_changes_it_with_its_threads(name):
    first = named(name, grid=(1, 1, 1), block=(1024, 1, 1))
    assert decide(first, named(name, grid=(8, 1, 1), block=(1024, 1, 1))) == (
        Verdict.SAME_ORDER,
        "one block per row, rows only",
    )
    fewer = named(name, grid=(256, 1, 1), block=(256, 1, 1))
    assert decide(first, fewer) == (Verdict.ORDER_CHANGED, "threads per row 1024 → 256")


def test_a_warp_that_sums_a_row_keeps_the_order_whatever_the_block_and_another_template_is_unknown():
    name = "void tensorrt_llm::kernels::fusedQKNormRopeKernel<{}, true>(__nv_bfloat16*, int, int, int, float)"
    first = named(name.format(128), grid=(4, 1, 1), block=(256, 1, 1))
    assert decide(first, named(name.format(128), grid=(8, 1, 1), block=(128, 1, 1))) == (
        Verdict.SAME_ORDER,
        "one warp per row, rows only",
    )
    assert decide(first, named(name.format(64), grid=(4, 1, 1), block=(256, 1, 1))) == (
        Verdict.UNKNOWN,
        "a different reduction kernel",
    )


def test_a_kernel_of_an_unknown_family_with_another_launch_is_unknown():
    assert decide(kernel("x"), kernel("x", grid=(2, 1, 1))) == (
        Verdict.UNKNOWN,
        "a different kernel or launch, family not known",
    )


def test_a_split_k_reduction_that_disappears_belongs_to_its_product():
    pairs, verdict, reason = judge_row([(nvjet(3), nvjet(1)), (splitk_reduce(), None)])
    assert verdict is Verdict.ORDER_CHANGED
    assert reason == "split-K 3 → 1"
    assert [pair.reason for pair in pairs] == ["split-K 3 → 1"] * 2


def test_a_pair_knows_where_its_kernels_stand_in_the_row():
    pairs, _, _ = judge_row([(None, splitk_reduce()), (nvjet(3), nvjet(1)), (splitk_reduce(), None)])
    assert [(pair.index_a, pair.index_b) for pair in pairs] == [(None, 0), (0, 1), (1, None)]


def test_a_split_k_reduction_alone_is_unknown():
    assert judge_row([(nvjet(1), nvjet(1)), (None, splitk_reduce())])[1] is Verdict.UNKNOWN


def test_partial_sums_in_another_type_are_another_order():
    pairs = [(nvjet(3), nvjet(3)), (splitk_reduce("f32"), splitk_reduce("f16"))]
    assert judge_row(pairs)[1:] == (Verdict.ORDER_CHANGED, "partial sums f32 → f16")


def test_a_row_takes_its_worst_kernel_and_the_reason_that_says_most():
    walk = kernel("e", role="elementwise")
    pairs = [(walk, kernel("e", role="elementwise", grid=(2, 1, 1))), (nvjet(1), nvjet(1, tile=(64, 8, 64)))]
    assert judge_row(pairs)[1:] == (Verdict.SAME_ORDER, "tile only, unsplit, same k-step")


def test_a_copy_without_counterpart_keeps_the_order_and_other_kernels_are_unknown():
    assert decide(None, kernel("c", role="copy")) == (Verdict.SAME_ORDER, "copy only in b, never reduces")
    assert decide(kernel("e", role="elementwise"), None) == (Verdict.UNKNOWN, "elementwise kernel only in a")
    with pytest.raises(ValueError, match="needs a kernel"):
        decide(None, None)


def segments(rows, *, on=True, tile=(128, 128), blocks=128, cluster=(1, 1, 1), logged=True, m=4096, split_k=1):
    details = (("segment_k", on),)
    algorithm = log(m=m, n=rows, k=4096, tile=tile, cluster=cluster) if logged else None
    name = f"sm90_xmma_gemm_{tile}_segment_k_{on}"
    return kernel(
        name,
        "xmma",
        "gemm",
        split_k=split_k,
        tile=(*tile[::-1], 32),
        grid=(blocks, 1, 1),
        details=details,
        algorithm=algorithm,
    )


def test_the_same_segment_kernel_and_launch_sums_otherwise_when_the_rows_are_others():
    # 32 tiles along m: 4 x 32 = 128 blocks cut every tile's k into four parts; 2 x 32 tiles into two.
    assert decide(segments(100), segments(100)) == (Verdict.SAME_KERNELS, "same kernel, same launch")
    assert decide(segments(100), segments(120)) == (Verdict.SAME_KERNELS, "same kernel, same launch")
    assert decide(segments(100), segments(200)) == (Verdict.ORDER_CHANGED, "parts of k 4 → 2")
    assert decide(segments(100, logged=False), segments(100, logged=False)) == (
        Verdict.UNKNOWN,
        "k is cut by the number of tiles (segment_k)",
    )


def test_segments_of_which_one_trace_has_no_log_are_unknown():
    reason = "k is cut by the number of tiles (segment_k)"
    for pair in ((segments(100), segments(100, logged=False)), (segments(100, logged=False), segments(100))):
        assert decide(*pair) == (Verdict.UNKNOWN, reason)


def test_segments_cut_into_as_many_parts_are_the_same_order_across_tiles():
    assert decide(segments(100), segments(100, tile=(64, 128), blocks=256)) == (
        Verdict.SAME_ORDER,
        "k cut in every tile of both",
    )


def test_tiles_that_fill_up_a_cluster_count_as_well():
    # 32 x 1 tiles in clusters of 1 x 2 are 64: the 128 blocks cut k in two, not in four.
    padded = segments(100, cluster=(1, 2, 1))
    assert decide(padded, segments(200)) == (Verdict.SAME_KERNELS, "same kernel, same launch")
    assert decide(padded, segments(100)) == (Verdict.ORDER_CHANGED, "parts of k 2 → 4")


def test_cuts_in_every_tile_against_none_are_another_order_and_cuts_in_some_where_all_rows_are_in_both():
    whole = segments(200, on=False)
    assert decide(segments(100), whole) == (Verdict.ORDER_CHANGED, "parts of k 4 → 1")
    some = segments(200, blocks=120)
    assert decide(some, segments(300, on=False)) == (Verdict.ORDER_CHANGED, "k cut in some tiles → no tile")
    # The whole one has fewer rows: whether they are in the tiles that the other cuts is not known.
    assert decide(segments(100, on=False), some) == (Verdict.UNKNOWN, "k cut in no tile → some tiles")
    assert decide(some, segments(300, blocks=120)) == (Verdict.UNKNOWN, "k cut in some tiles of both")
    assert decide(whole, segments(300, on=False, blocks=120)) == (Verdict.SAME_ORDER, "same kernel, unsplit")


def xmma_split(parts, option=None, *, logged=True, name="sm80_xmma_ffma"):
    algorithm = log(k=4096, reduction_scheme="COMPUTE_TYPE", custom_option=option) if logged else None
    return kernel(
        name,
        "xmma",
        "gemm",
        split_k=parts,
        tile=(128, 128, 8),
        op_class="ffma",
        grid=(5, 16, parts),
        algorithm=algorithm,
    )


def test_the_same_xmma_kernel_and_launch_adds_its_parts_in_another_order_by_custom_option():
    changed = (Verdict.ORDER_CHANGED, "split-K 3 in both, parts added in another order")
    assert decide(xmma_split(3, 1), xmma_split(3)) == changed
    assert decide(xmma_split(3, 1), xmma_split(3, 2)) == changed
    assert decide(xmma_split(3, 1), xmma_split(3, 1)) == (Verdict.SAME_KERNELS, "same kernel, same launch")
    # Two parts have one order of adding.
    assert decide(xmma_split(2, 1), xmma_split(2)) == (Verdict.SAME_ORDER, "split-K 2 in both, parts of equal length")


def test_without_the_log_the_same_split_xmma_kernel_promises_nothing():
    bare = xmma_split(3, logged=False)
    assert decide(bare, bare) == (Verdict.UNKNOWN, "split-K 3 in both, order of the parts not known")
    two = xmma_split(2, logged=False)
    assert decide(two, two) == (Verdict.SAME_KERNELS, "same kernel, same launch")


def test_without_the_log_the_same_split_nvjet_kernel_and_launch_may_be_split_into_other_parts():
    name = "nvjet_sm90_hsh_64x72_64x12_2x1_v_bz_splitK_TNT"
    same = nvjet(None, name=name, split_k_form="stated")
    assert decide(same, same) == (Verdict.UNKNOWN, "split-K factor not known")


@pytest.mark.parametrize("other", [1, "none"])
def test_a_split_product_that_becomes_unsplit_is_another_order_even_where_the_factor_is_not_known(other):
    split, whole = nvjet(None, split_k_form="stated"), nvjet(1, split_k_form="none")
    assert decide(split, whole) == (Verdict.ORDER_CHANGED, "split-K 2 or more → 1")
    assert decide(whole, split) == (Verdict.ORDER_CHANGED, "split-K 1 → 2 or more")


@pytest.mark.parametrize(
    "name",
    [
        "void Marlin<1125899906909960, 4503599627370498, 1125899906909960, 256, 1, 8, 8, 4, 8>(int4 const*)",
        "void VecQuant4MatMulKernel<c10::Half>(c10::Half const*, int const*, c10::Half*)",
        "void vllm::gptq::gemm_half_q_half_gptq_4bit_kernel<true, 4>(__half const*, unsigned int const*)",
        "cutlass3x_sm90_tensorop_s64x128x16gemm_f16_f16_f32_void_f16_128x128x64_1x1x1_0_tnn_align8_stream_k"
        "_warpspecialized_cooperative_epi_tma",
    ],
)
def test_products_cut_by_the_problem_or_added_atomically_promise_nothing_even_with_the_same_launch(name):
    same = named(name, role="gemm", grid=(132, 1, 1))
    assert same.parsed.role == "gemm"
    assert decide(same, same)[0] is Verdict.UNKNOWN


def cutlass(name, *, split_k=1, k=4096, scheme=None, type_d="R_16F", grid=(8, 3, 1), stages=None):
    name = f"void cutlass::Kernel2<{name}>({name}::Params)"
    type_a = "R_32F" if type_d == "R_32F" else "R_16F"
    algorithm = log(k=k, type_a=type_a, type_d=type_d, split_k=split_k, reduction_scheme=scheme, stages=stages)
    return replace(kernel(grid=grid, split_k=split_k, algorithm=algorithm), parsed=parse(name))


def test_an_instruction_that_adds_more_products_at_once_is_another_order():
    shallow = cutlass("cutlass_75_tensorop_f16_s1688gemm_f16_128x128_tn_align1")
    deep = cutlass("cutlass_80_wmma_tensorop_f16_s161616gemm_f16_32x32_128x2_tn_align2")
    assert decide(shallow, deep) == (Verdict.ORDER_CHANGED, "instruction 16×8×8 → 16×16×16")
    same_depth = cutlass("cutlass_80_tensorop_f16_s16816gemm_f16_64x64_64x3_tn_align2")
    assert decide(deep, same_depth) == (Verdict.UNKNOWN, "instruction 16×16×16 → 16×8×16")


def test_cutlass_tiles_keep_the_order_where_k_is_whole_steps_or_the_steps_are_equal():
    fine, coarse = (f"cutlass_80_tensorop_s1688gemm_64x64_{step}x4_tn_align4" for step in (16, 32))
    assert decide(cutlass(fine, k=128), cutlass(coarse, k=128)) == (Verdict.SAME_ORDER, "unsplit, k-step 16 → 32")
    # 777 is no multiple of either step, and what is left over is added first.
    assert decide(cutlass(fine, k=777), cutlass(coarse, k=777)) == (
        Verdict.UNKNOWN,
        "unsplit in both, tile 64×64×16 → 64×64×32",
    )
    wide = "cutlass_80_tensorop_s1688gemm_128x64_16x4_tn_align4"
    assert decide(cutlass(fine, k=777, split_k=5), cutlass(wide, k=777, split_k=5)) == (
        Verdict.SAME_ORDER,
        "split-K 5 in both",
    )
    assert decide(cutlass(fine, k=1280, split_k=5), cutlass(coarse, k=1280, split_k=5)) == (
        Verdict.SAME_ORDER,
        "split-K 5 in both",
    )
    assert decide(cutlass(fine, k=1200, split_k=5), cutlass(coarse, k=1200, split_k=5)) == (
        Verdict.UNKNOWN,
        "split-K 5 in both, tile 64×64×16 → 64×64×32",
    )


def test_older_names_without_a_k_step_share_one():
    small, large = (f"cutlass_75_tensorop_s1688gemm_f16_{tile}_tn_align1" for tile in ("64x64", "128x128"))
    assert decide(cutlass(small, k=4100, split_k=4), cutlass(large, k=4100, split_k=4)) == (
        Verdict.SAME_ORDER,
        "split-K 4 in both",
    )
    assert decide(cutlass(small), cutlass(small.replace("64x64", "64x64_32x2"))) == (
        Verdict.UNKNOWN,
        "unsplit in both, tile 64×64×? → 64×64×32",
    )


def test_partial_sums_rounded_at_another_moment_are_another_order_and_fp32_ones_are_not_rounded():
    name = "cutlass_80_tensorop_{}s16816gemm_f16_64x64_32x6_tn_align4"
    half = [cutlass(name.format("f16_"), split_k=3, scheme=scheme) for scheme in ("OUTPUT_TYPE", "INPLACE")]
    assert decide(*half) == (Verdict.ORDER_CHANGED, "reduction scheme OUTPUT_TYPE → INPLACE")
    simt = [
        cutlass("cutlass_80_simt_sgemm_128x32_8x5_nn_align1", split_k=3, scheme=scheme, type_d="R_32F")
        for scheme in ("COMPUTE_TYPE", "INPLACE")
    ]
    assert decide(*simt) == (Verdict.SAME_ORDER, "split-K 3 in both")


def test_another_factor_that_gives_the_same_parts_keeps_the_order():
    name = "cutlass_80_tensorop_s1688gemm_128x64_32x3_tn_align4"

    def product(factor, parts, k=8192):
        return cutlass(name, split_k=factor, k=k, type_d="R_32F", grid=(8, 1, parts), scheme="COMPUTE_TYPE")

    assert decide(product(32, 32), product(33, 32)) == (Verdict.SAME_ORDER, "split-K 32 → 33, the same 32 parts")
    assert decide(product(33, 32), product(44, 43)) == (Verdict.ORDER_CHANGED, "split-K 33 → 44")
    # 777 in 8 parts of whole cache lines would be 7: the grid says otherwise, so where they are cut is not known.
    assert decide(product(8, 7, 777), product(7, 7, 777)) == (Verdict.SAME_ORDER, "split-K 8 → 7, the same 7 parts")
    assert decide(product(8, 8, 777), product(9, 8, 777)) == (Verdict.UNKNOWN, "split-K 8 → 9, 8 parts in both")


def ogs(tile, **launch):
    return named(f"_matmul_ogs_NNT_bf16xbf16xmxfp4_{tile}", **launch)


def test_triton_products_are_judged_by_the_split_that_their_names_print():
    def split(tile, factor, **launch):
        return replace(ogs(tile, **launch), split_k=factor)

    assert decide(split("64x128x256x1", 1), split("16x128x256x4", 4)) == (Verdict.ORDER_CHANGED, "split-K 1 → 4")
    one = split("64x128x256x1", 1, grid=(8, 1, 1))
    assert decide(one, split("64x128x256x1", 1, grid=(64, 1, 1))) == (
        Verdict.SAME_ORDER,
        "same kernel, split-K 1 in both",
    )
    # tl.dot may take another instruction for another tile.
    assert decide(one, split("128x128x256x1", 1)) == (Verdict.UNKNOWN, "Triton GEMM, tile 64×128×256 → 128×128×256")


def test_a_triton_product_whose_name_hides_its_block_sizes_is_unknown_in_another_launch():
    first, second = named("fused_moe_kernel", grid=(8, 1, 1)), named("fused_moe_kernel", grid=(16, 1, 1))
    assert decide(first, second) == (Verdict.UNKNOWN, "Triton GEMM, grid 8×1×1 → 16×1×1")
    assert decide(first, first) == (Verdict.SAME_KERNELS, "same kernel, same launch")
    assert decide(first, named("fused_moe_kernel_gptq_awq")) == (Verdict.UNKNOWN, "a different Triton GEMM")
    threads = named("fused_moe_kernel", grid=(8, 1, 1), block=(256, 1, 1))
    assert decide(first, threads) == (Verdict.UNKNOWN, "Triton GEMM, block 128×1×1 → 256×1×1")


def test_xmma_parts_added_in_turn_are_another_order_unless_there_are_two():
    def split(parts, custom_option):
        algorithm = log(k=4096, custom_option=custom_option)
        return kernel(
            f"xmma{custom_option}",
            "xmma",
            "gemm",
            split_k=parts,
            tile=(32, 64, 8),
            op_class="ffma",
            algorithm=algorithm,
        )

    assert decide(split(8, 1), split(8, None)) == (
        Verdict.ORDER_CHANGED,
        "split-K 8 in both, parts added in another order",
    )
    assert decide(split(2, 1), split(2, None)) == (Verdict.SAME_ORDER, "split-K 2 in both, parts of equal length")
    assert decide(split(8, 2), split(8, None)) == (Verdict.SAME_ORDER, "split-K 8 in both, parts of equal length")


def test_parts_of_equal_length_may_be_added_inside_the_kernel_or_after_it():
    def split(name):
        algorithm = log(k=4096)
        return kernel(name, "xmma", "gemm", split_k=4, tile=(32, 64, 8), op_class="ffma", algorithm=algorithm)

    reduce = kernel("execute_split_k_kernel", "xmma", "splitk_reduce")
    assert judge_row([(split("a"), split("b")), (None, reduce)])[1:] == (
        Verdict.SAME_ORDER,
        "split-K 4 in both, parts of equal length",
    )


def test_attention_is_judged_by_its_kv_parts():
    def flash(parts, batch, form="split-kv"):
        return kernel(
            "flash_fwd_splitkv_kernel",
            "flash_attn2",
            "attention",
            kernel="flash_fwd_splitkv_kernel",
            split_k_form=form,
            grid=(1, parts, 32 * batch),
        )

    whole = kernel("flash_fwd_kernel", "flash_attn2", "attention", split_k_form="none")
    assert decide(flash(4, 1), flash(2, 2)) == (Verdict.ORDER_CHANGED, "split-KV 4 → 2")
    assert decide(flash(4, 1), flash(4, 2)) == (Verdict.SAME_ORDER, "same kernel, split-KV 4 in both")
    assert decide(flash(4, 1), whole) == (Verdict.ORDER_CHANGED, "split-KV only in a")
    assert decide(whole, flash(4, 1)) == (Verdict.ORDER_CHANGED, "split-KV only in b")
    # A name cut short does not tell whether keys are split.
    assert decide(flash(4, 1, None), flash(4, 2, None)) == (
        Verdict.UNKNOWN,
        "same attention kernel, grid 1×4×32 → 1×4×64",
    )


def test_vllm_attention_from_2d_to_3d_splits_the_keys():
    flat, split = (named(f"kernel_unified_attention_{word}", grid=(4, 8, 16)) for word in ("2d", "3d"))
    assert decide(flat, split) == (Verdict.ORDER_CHANGED, "split-KV only in b")
    combine = named("reduce_segments")
    assert judge_row([(flat, split), (None, combine)])[1:] == (Verdict.ORDER_CHANGED, "split-KV only in b")
    assert decide(split, named("kernel_unified_attention_3d", grid=(8, 8, 16))) == (
        Verdict.SAME_ORDER,
        "same kernel, split-KV 16 in both",
    )
    assert decide(split, named("kernel_unified_attention_3d", grid=(4, 8, 32))) == (
        Verdict.ORDER_CHANGED,
        "split-KV 16 → 32",
    )


@pytest.mark.parametrize(
    "name",
    [
        "void flashinfer::BatchDecodeWithPagedKVCacheKernel<(flashinfer::PosEncodingMode)0, 2, 4, 8, 16, 1, 8, V>(P)",
        "void flash_fwd_splitkv_mla_kernel<Flash_fwd_kernel_traits_mla<576, 64, 64, 8>, true>(Flash_fwd_mla_params)",
        "cudnn_generated_fort_native_sdpa_sm100_flash_fprop",
    ],
)
def test_attention_whose_keys_are_cut_by_a_plan_promises_nothing_even_with_the_same_launch(name):
    same = named(name, grid=(132, 1, 1))
    assert same.parsed.role == "attention"
    assert decide(same, same)[0] is Verdict.UNKNOWN


def test_attention_that_never_splits_keeps_its_kernels():
    same = named("void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128, 128, 64, 4>, false, true>(int)")
    assert decide(same, same) == (Verdict.SAME_KERNELS, "same kernel, same launch")


@pytest.mark.parametrize(("warps", "verdict"), [((4, 1, 1), Verdict.SAME_ORDER), ((1, 4, 1), Verdict.UNKNOWN)])
def test_cudnn_attention_keeps_the_order_only_where_no_warps_share_the_keys(warps, verdict):
    pair = [kernel("sdpa", "cudnn_sdpa", "attention", warps=warps, grid=(1, 32, batch)) for batch in (1, 2)]
    assert decide(*pair)[0] is verdict


def test_cudnn_attention_that_varies_from_run_to_run_promises_nothing_even_with_the_same_launch():
    name = "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_35_16x128x128_1x4x1_cga1x1x1_kernel0_0"
    pair = [replace(kernel(grid=(1, 32, 6)), parsed=parse(name)) for _ in range(2)]
    assert decide(*pair) == (Verdict.UNKNOWN, "cuDNN attention that varies from run to run")


def test_cudnn_parts_of_the_keys_make_it_unknown():
    def split(parts):
        return kernel("sdpa", "cudnn_sdpa", "attention", warps=(4, 1, 1), grid=(parts, 32, 1))

    combine = kernel("lean_reduction_kernel", grid=(1, 32, 1))
    assert judge_row([(split(4), split(1)), (combine, None)])[1] is Verdict.UNKNOWN


def test_other_element_types_are_another_order():
    half, single = (nvjet(1, name=word, types=Types(a=word, output=word)) for word in ("f16", "f32"))
    assert decide(half, single) == (Verdict.ORDER_CHANGED, "type of operand A f16 → f32")


def test_no_kernel_promises_equal_bits_between_traces_of_two_element_types():
    walk, same = kernel("e", role="elementwise"), nvjet(1)
    pairs, verdict, reason = judge_row([(walk, walk), (same, same)], ("float16", "bfloat16"))
    assert (verdict, reason) == (Verdict.UNKNOWN, "dtype float16 → bfloat16")
    assert {pair.verdict for pair in pairs} == {Verdict.UNKNOWN}
    changed = judge_row([(nvjet(2), nvjet(3))], ("float16", "bfloat16"))
    assert changed[1:] == (Verdict.ORDER_CHANGED, "split-K 2 → 3")
    for dtypes in (("float16", "float16"), (None, "float16"), (None, None)):
        assert judge_row([(same, same)], dtypes)[1] is Verdict.SAME_KERNELS


def test_warps_along_k_are_another_order_however_the_name_states_them():
    def sliced(**fields):
        return kernel(str(fields), "cutlass2x", "gemm", split_k=1, tile=(64, 64, 32), **fields)

    assert decide(sliced(warps=(2, 2, 1)), sliced(warps=(2, 1, 2))) == (Verdict.ORDER_CHANGED, "warps along k 1 → 2")
    assert decide(sliced(warps=(2, 2, 1)), sliced(warps=(4, 1, 1))) == (
        Verdict.SAME_ORDER,
        "tile only, unsplit, same k-step",
    )
    assert decide(sliced(sliced_k=1), sliced(sliced_k=2)) == (Verdict.ORDER_CHANGED, "warps along k 1 → 2")
    assert decide(sliced(sliced_k=2), sliced(warps=(2, 2, 1))) == (Verdict.ORDER_CHANGED, "warps along k 2 → 1")
    # Two numbers say nothing of k.
    assert decide(sliced(warps=(2, 2)), sliced(warps=(2, 4))) == (Verdict.SAME_ORDER, "tile only, unsplit, same k-step")


def test_the_reasons_that_people_read():
    reduce = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::{}> >(int)"
    mean, most = (named(reduce.format(word), block=(32, 16, 1)) for word in ("MeanOps<float>", "MaxOps<float>"))
    more = [replace(each, grid=(9, 1, 1)) for each in (mean, most)]
    assert decide(mean, more[0]) == (Verdict.SAME_ORDER, "same block, rows only")
    assert decide(most, more[1]) == (Verdict.SAME_ORDER, "maximum or minimum: nothing is rounded")
    assert decide(mean, most) == (Verdict.UNKNOWN, "a different reduction kernel")
    softmax = "void at::native::softmax_warp_forward<float, float, float, 8, false, false>(int)"
    assert decide(named(softmax), named(softmax, block=(32, 8, 1))) == (
        Verdict.SAME_ORDER,
        "one warp per row, rows only",
    )
    norm = "void vllm::rms_norm_kernel<float, 8, 2>(float)"
    assert decide(named(norm), named(norm, grid=(2, 1, 1))) == (Verdict.SAME_ORDER, "one block per row, rows only")
    unknown = kernel("r", role="reduction")
    assert decide(unknown, kernel("r", role="reduction", grid=(2, 1, 1))) == (Verdict.UNKNOWN, "grid 1×1×1 → 2×1×1")
    assert decide(unknown, kernel("r", role="reduction", block=(64, 1, 1))) == (
        Verdict.UNKNOWN,
        "block 128×1×1 → 64×1×1",
    )
    combine = kernel("c", role="reduction", split_k_form="split-kv")
    assert decide(combine, replace(combine, grid=(5, 1, 1))) == (
        Verdict.SAME_ORDER,
        "combines the parts of split-KV, rows only",
    )
    assert decide(combine, replace(combine, block=(64, 1, 1))) == (Verdict.UNKNOWN, "block 128×1×1 → 64×1×1")
    assert decide(kernel("x"), kernel("y")) == (Verdict.UNKNOWN, "a different kernel or launch, family not known")
    assert decide(kernel("x", role="gemm"), kernel("y", role="attention")) == (Verdict.UNKNOWN, "gemm → attention")
    only = {"gemm": "GEMM", "splitk_reduce": "split-K reduction", "other": "kernel"}
    only |= {"reduction": "reduction", "attention": "attention"}
    for role, words in only.items():
        assert decide(None, kernel("x", role=role)) == (Verdict.UNKNOWN, f"{words} only in b")


def test_the_reasons_of_attention():
    def attention(name="f", **fields):
        return kernel(name, "flash_attn2", "attention", kernel="flash_fwd_kernel", split_k_form="none", **fields)

    assert decide(attention(), attention(grid=(2, 1, 1))) == (
        Verdict.SAME_ORDER,
        "same kernel, one block per tile of queries, rows only",
    )
    tiles = [attention(str(keys), tile=(128, keys, None)) for keys in (64, 128)]
    assert decide(*tiles) == (Verdict.UNKNOWN, "key tile 64 → 128")
    assert decide(attention("f"), attention("g")) == (Verdict.UNKNOWN, "a different attention kernel")
    assert decide(attention(), attention(block=(64, 1, 1))) == (
        Verdict.UNKNOWN,
        "same attention kernel, block 128×1×1 → 64×1×1",
    )
    efficient = kernel("e", "fmha_cutlass", "attention")
    assert decide(efficient, replace(efficient, grid=(2, 1, 1))) == (
        Verdict.SAME_ORDER,
        "same kernel, one block per tile of queries, rows only",
    )
    other = kernel("o", "trtllm_gen_fmha", "attention")
    assert decide(other, replace(other, grid=(2, 1, 1))) == (
        Verdict.UNKNOWN,
        "same attention kernel, grid 1×1×1 → 2×1×1",
    )
    cudnn = kernel("sdpa", "cudnn_sdpa", "attention", warps=(4, 1, 1), grid=(1, 32, 1))
    assert decide(cudnn, replace(cudnn, grid=(1, 64, 1))) == (
        Verdict.SAME_ORDER,
        "same kernel, each warp walks all keys of its queries, rows only",
    )
    assert decide(cudnn, replace(cudnn, grid=(2, 64, 1))) == (
        Verdict.UNKNOWN,
        "same attention kernel, grid 1×32×1 → 2×64×1",
    )


def test_another_reduction_scheme_of_other_kernels_is_unknown():
    schemes = [
        kernel("x", "xmma", "gemm", split_k=3, algorithm=log(reduction_scheme=word, type_d="R_32F"))
        for word in ("COMPUTE_TYPE", "INPLACE")
    ]
    assert decide(*schemes) == (Verdict.UNKNOWN, "reduction scheme COMPUTE_TYPE → INPLACE")


def test_every_table_has_the_title_that_the_documentation_gives_it():
    assert list(TABLES) == [
        "Sums ordered by chance",
        "Sums across GPUs",
        "Any two GEMMs",
        "nvjet",
        "xmma",
        "CUTLASS and older cuBLAS kernels",
        "Triton",
        "gemv, gemmSN, large-k",
        "GEMMs of two families",
        "Attention",
        "Reductions, norms, softmax",
        "Elementwise",
        "Copies",
    ]


def test_the_reasons_of_products():
    assert decide(nvjet(1), nvjet(1, tile=(64, 8, 128))) == (Verdict.SAME_ORDER, "unsplit, k-step 64 → 128")
    assert decide(nvjet(2), nvjet(2, tile=(64, 8, 64))) == (Verdict.SAME_ORDER, "split-K 2 in both")
    assert decide(nvjet(3, tile=(128, 8, 128)), nvjet(3)) == (
        Verdict.UNKNOWN,
        "split-K 3 in both, k-step 128 → 64",
    )
    assert decide(nvjet(1), replace(nvjet(1), grid=(2, 1, 1))) == (Verdict.SAME_ORDER, "same kernel, unsplit")
    bias = nvjet(1, name="b", epilogue="bias")
    assert decide(nvjet(1), bias) == (Verdict.UNKNOWN, "epilogue ? → bias")
    fields = {"family": "xmma", "role": "gemm", "split_k": 3}
    small, large = (kernel(f"x{m}", tile=(m, 64, 16), algorithm=log(), **fields) for m in (64, 128))
    assert decide(small, large) == (Verdict.UNKNOWN, "split-K 3 in both, tile 64×64×16 → 128×64×16")
    assert decide(small, replace(small, grid=(2, 1, 1))) == (Verdict.SAME_ORDER, "same kernel, split-K 3 in both")
    k = [replace(nvjet(1), algorithm=log(k=size)) for size in (64, 128)]
    assert decide(*k) == (Verdict.ORDER_CHANGED, "k 64 → 128")
    compute = [replace(nvjet(1, name=word), algorithm=log(compute_type=word)) for word in ("32F", "16F")]
    assert decide(*compute) == (Verdict.ORDER_CHANGED, "compute type 32F → 16F")
    sums = [nvjet(1, name=word, types=Types(accumulate=word)) for word in ("f16", "f32")]
    assert decide(*sums) == (Verdict.ORDER_CHANGED, "type of the sum f16 → f32")
    outputs = [nvjet(1, name=word, types=Types(output=word)) for word in ("f16", "f32")]
    assert decide(*outputs) == (Verdict.ORDER_CHANGED, "type of the output f16 → f32")
    large_k = [
        kernel(f"sgemm_largek_{n}", "cublas_gemv_misc", "gemm", kernel="sgemm_largek_lds64", split_k=4) for n in (1, 2)
    ]
    assert decide(*large_k) == (Verdict.SAME_ORDER, "large-k GEMM, split-K 4 in both")
    unknown = [replace(each, split_k=None) for each in large_k]
    assert decide(*unknown) == (Verdict.UNKNOWN, "large-k GEMM in both, other variant or launch")


def test_a_module_that_only_one_trace_has_is_unknown_whatever_ran_there():
    copy = kernel("c", role="copy")
    for pairs, side in (([(copy, None), (nvjet(1), None)], "a"), ([(None, copy)], "b")):
        judged, verdict, reason = judge_row(pairs)
        assert (verdict, reason) == (Verdict.UNKNOWN, f"only in {side}")
        assert len(judged) == len(pairs)
    assert judge_row([]) == ((), Verdict.SAME_KERNELS, "no kernels")


def test_where_parts_are_added_is_settled_by_the_log_alone():
    def product(logged):
        return nvjet(3, name="nvjet_splitK", algorithm=log(split_k=3) if logged else None)

    reduce = splitk_reduce()
    assert judge_row([(product(True), product(True)), (reduce, None)])[1] is Verdict.SAME_KERNELS
    assert judge_row([(product(False), product(False)), (reduce, None)])[1:] == (
        Verdict.UNKNOWN,
        "split-K reduction only in a",
    )


def test_a_split_k_reduction_takes_the_verdict_of_its_product():
    reduce, wider = splitk_reduce(grid=(1, 1, 1)), splitk_reduce(grid=(2, 1, 1))
    same = judge_row([(nvjet(3), nvjet(3, tile=(64, 8, 64))), (reduce, wider)])
    assert [pair.verdict for pair in same[0]] == [Verdict.SAME_ORDER] * 2
    assert {pair.reason for pair in same[0]} == {"split-K 3 in both"}
    equal = judge_row([(nvjet(3), nvjet(3)), (reduce, reduce)])
    assert [pair.verdict for pair in equal[0]] == [Verdict.SAME_KERNELS] * 2
    unknown = judge_row([(nvjet(None), nvjet(None, tile=(64, 8, 64))), (reduce, reduce)])
    assert [pair.verdict for pair in unknown[0]] == [Verdict.UNKNOWN] * 2


@pytest.mark.parametrize(
    ("function", "called"),
    [
        ("gemmSN_TN_kernel", "gemmSN"),
        ("gemmk1_kernel", "gemmk1"),
        ("sgemm_largek_lds64", "large-k GEMM"),
        ("gemv2N_kernel", "gemv"),
        ("dot_kernel", "dot product"),
        ("magma_sgemmEx_kernel", "cublas_gemv_misc GEMM"),
    ],
)
def test_what_small_cublas_kernels_are_called(function, called):
    small = kernel(function, "cublas_gemv_misc", "gemm", kernel=function)
    assert decide(small, nvjet(1)) == (Verdict.ORDER_CHANGED, f"{called} → nvjet GEMM")


def test_only_attention_with_a_plan_that_may_cut_the_keys_is_doubted_in_the_same_launch():
    for family, form, verdict in (
        ("flash_attn3", "none", Verdict.SAME_KERNELS),
        ("flash_attn3", None, Verdict.UNKNOWN),
        ("flash_attn3", "split-kv", Verdict.UNKNOWN),
        ("triton_user", None, Verdict.SAME_KERNELS),
        ("flash_attn2", "none", Verdict.SAME_KERNELS),
    ):
        same = kernel("f", family, "attention", split_k_form=form)
        assert decide(same, same)[0] is verdict
    single = kernel("s", "flashinfer", "attention", kernel="SinglePrefillWithKVCacheKernel")
    assert decide(single, single) == (Verdict.SAME_KERNELS, "same kernel, same launch")


def test_the_same_name_with_other_registers_is_other_code():
    norm = kernel("triton_red_fused_mean_0", "triton_inductor", "reduction")
    assert decide(norm, norm) == (Verdict.SAME_KERNELS, "same kernel, same launch")
    other = replace(norm, registers=40)
    assert decide(norm, other) == (Verdict.UNKNOWN, "registers 32 → 40")
    assert decide(norm, replace(norm, registers=0))[0] is Verdict.SAME_KERNELS  # a profiler that does not tell
    add = kernel("add", "at_native", "elementwise")
    assert decide(add, replace(add, registers=40)) == (Verdict.SAME_KERNELS, "same kernel, same launch")


@pytest.mark.parametrize("name", ["matmul_split_k_kernel", "_w4a16_gemm_splitk_kernel", "gemm_streamk_kernel"])
def test_a_product_that_says_it_splits_k_by_an_argument_promises_nothing(name):
    product = replace(kernel(), parsed=parse(name))
    assert product.parsed.role == "gemm"
    assert decide(product, product) == (Verdict.UNKNOWN, "same Triton GEMM, same launch; an argument may split k")


def test_a_triton_product_of_fixed_tiles_sums_alike_at_any_number_of_rows():
    def product(name="matmul_kernel_persistent", **fields):
        return replace(kernel(), parsed=parse(name), **{"shared_memory_bytes": 131072, **fields})

    for name in ("matmul_kernel_persistent", "bmm_kernel"):
        assert decide(product(name, grid=(16, 1, 1)), product(name, grid=(48, 1, 1))) == (
            Verdict.SAME_ORDER,
            "same kernel, a block walks all of k for a tile",
        )
    few, many = product(grid=(16, 1, 1)), product(grid=(48, 1, 1))
    for changed in ({"shared_memory_bytes": 98304}, {"block": (256, 1, 1)}, {"registers": 40}):
        assert decide(few, replace(many, **changed))[0] is Verdict.UNKNOWN
    assert decide(product("fused_moe_kernel"), product("fused_moe_kernel", grid=(9, 1, 1))) == (
        Verdict.UNKNOWN,
        "Triton GEMM, grid 1×1×1 → 9×1×1",
    )


def test_attention_whose_keys_a_plan_cuts_promises_nothing():
    name = (
        "void flash_fwd_splitkv_mla_kernel<Flash_fwd_kernel_traits_mla<576, 64, 64, 8, cutlass::bfloat16_t, 512>, "
        "true, flash::SharedStorageMLA>(Flash_fwd_mla_params)"
    )
    same = replace(kernel(), parsed=parse(name))
    assert decide(same, same) == (
        Verdict.UNKNOWN,
        "same kernel, same launch; a plan that is not in the trace cuts the keys",
    )


@pytest.mark.parametrize("family", ["flash_attn1", "flash_attn2", "flash_attn3"])
def test_attention_that_splits_no_keys_sums_alike_at_any_number_of_rows(family):
    def attention(grid, form="none"):
        return kernel("f", family, "attention", kernel="f", split_k_form=form, grid=grid)

    assert decide(attention((2, 1, 1)), attention((4, 1, 1))) == (
        Verdict.SAME_ORDER,
        "same kernel, one block per tile of queries, rows only",
    )
    assert decide(attention((2, 1, 1), None), attention((4, 1, 1), None)) == (
        Verdict.UNKNOWN,
        "same attention kernel, grid 2×1×1 → 4×1×1",
    )


REDUCE = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float>>>"


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        # Rows 6 and 12 of a hidden state: block.y counts rows, as the grid bears out.
        (((2, 1, 1), (128, 4, 1)), ((2, 1, 1), (64, 8, 1)), "threads per row 128 → 64"),
        (((1, 1, 1), (512, 1, 1)), ((1, 1, 1), (256, 2, 1)), "threads per row 512 → 256"),
        (((2, 1, 1), (128, 4, 1)), ((3, 1, 1), (32, 16, 1)), "threads per row 128 → 32"),
        # 8 blocks of 8 rows' height: one row a block, shared by block.y too, or 64 rows.
        (((1, 1, 1), (512, 1, 1)), ((8, 1, 1), (64, 8, 1)), "block 512×1×1 → 64×8×1"),
        # No more than a warp wide: rows may run along block.y.
        (((1, 1, 1), (4, 128, 1)), ((1, 1, 1), (8, 64, 1)), "block 4×128×1 → 8×64×1"),
        # Blocks share a row as well.
        (((1, 2, 1), (512, 1, 1)), ((1, 2, 1), (256, 2, 1)), "block 512×1×1 → 256×2×1"),
    ],
)
def test_threads_per_row_are_told_where_the_launch_shows_them(a, b, reason):
    first, second = (kernel(REDUCE, "at_native", "reduction", grid=grid, block=block) for grid, block in (a, b))
    assert decide(first, second) == (Verdict.ORDER_CHANGED, reason)


def test_a_block_of_one_row_shares_it_among_all_its_threads():
    def norm(threads):
        name = "vllm::rms_norm_kernel<c10::BFloat16>"
        return kernel(name, "vllm", "reduction", kernel="rms_norm_kernel", block=(threads, 1, 1))

    assert decide(norm(1024), norm(256)) == (Verdict.ORDER_CHANGED, "threads per row 1024 → 256")


@pytest.mark.parametrize(
    "name",
    [
        "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "ncclDevKernel_ReduceScatter_Sum_f16_RING_SIMPLE(ncclDevKernelArgsStorage<4096ul>)",
        "ncclDevKernel_Generic_4(ncclDevKernelArgsStorage<4096ul>)",
        "void vllm::cross_device_reduce_2stage<__nv_bfloat16, 4>(vllm::RankData*)",
        "void multimem_all_reduce_kernel<c10::BFloat16, 16>(c10::BFloat16*)",
    ],
)
def test_a_sum_across_gpus_promises_nothing_with_the_same_launch_either(name):
    same = named(name)
    assert decide(same, same) == (
        Verdict.UNKNOWN,
        "a sum across GPUs, whose order may follow from the message's size",
    )


@pytest.mark.parametrize(
    "name",
    [
        "ncclDevKernel_AllReduce_Max_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>(vllm::RankData*)",
    ],
)
def test_what_moves_or_compares_across_gpus_or_adds_in_one_order_keeps_its_bits(name):
    assert decide(named(name), named(name)) == (Verdict.SAME_KERNELS, "same kernel, same launch")


def test_an_all_reduce_in_one_stage_adds_in_one_order_at_any_number_of_rows():
    name = "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>(vllm::RankData*)"
    assert decide(named(name, grid=(8, 1, 1)), named(name, grid=(36, 1, 1))) == (
        Verdict.SAME_ORDER,
        "every GPU adds all GPUs' values in one order, rows only",
    )


@pytest.mark.parametrize(
    "name",
    [
        "_fwd_grouped_kernel_stage1",
        "fmhaSm100fKernel_QkvBfloat16OBfloat16H128PagedKvDenseP32MultiCtasKvVarSeqQ16Kv128StaticSwapsAbForGen",
        "Cijk_Ailk_Bljk_HHS_BH_MT128x128x32_MI32x32x8x1_SN_GSU4_ISA942",
    ],
)
def test_splits_that_an_argument_of_the_launch_decides_promise_nothing(name):
    assert decide(named(name), named(name))[0] is Verdict.UNKNOWN


def test_threads_per_row_are_compared_within_one_function_alone():
    def norm(function, of, threads):
        name = f"void vllm::{function}<{of}>(x)"
        return kernel(name, family="vllm", role="reduction", kernel=function, block=(threads, 1, 1))

    before = norm("rms_norm_kernel", "c10::Half", 256)
    assert decide(before, norm("rms_norm_kernel", "float", 512)) == (Verdict.ORDER_CHANGED, "threads per row 256 → 512")
    assert decide(before, norm("fused_add_rms_norm_kernel", "c10::Half", 512)) == (
        Verdict.UNKNOWN,
        "a different reduction kernel",
    )
