"""What a change of kernels means for the reduction order."""

from dataclasses import replace

import pytest

from tests.diff.rules.make import kernel, log, nvjet, splitk_reduce
from tracediff.diff.result import Verdict
from tracediff.diff.rules import decide
from tracediff.diff.verdict import judge_row
from tracediff.kernels import Types, parse


def test_a_kernel_with_the_same_launch_is_the_same_kernel():
    assert decide(nvjet(3), nvjet(3))[0] is Verdict.SAME_KERNELS


def test_an_operator_of_a_cpu_may_run_other_code_at_another_size():
    operator = kernel("aten::mm", "other", "other", grid=(0, 0, 0), block=(0, 0, 0))
    assert decide(operator, operator)[0] is Verdict.UNKNOWN


def test_the_same_name_and_launch_with_another_split_k_factor_is_another_order():
    name = "nvjet_sm90_hsh_64x16_64x16_2x1_v_bz_splitK_TNT"
    assert decide(nvjet(3, name=name), nvjet(2, name=name)) == (Verdict.ORDER_CHANGED, "split-K 3 → 2")


def test_another_tile_of_an_unsplit_product_is_the_same_order():
    verdict, reason = decide(nvjet(1), nvjet(1, tile=(128, 16, 64)))
    assert (verdict, reason) == (Verdict.SAME_ORDER, "tile only, unsplit, same k-step")


def test_the_same_factor_across_tiles_is_the_same_order():
    assert decide(nvjet(4), nvjet(4, tile=(128, 16, 64)))[0] is Verdict.SAME_ORDER


def test_the_same_factor_with_another_k_step_is_unknown_unless_the_parts_are_equal():
    coarse, fine = nvjet(3, tile=(128, 8, 128)), nvjet(3)
    assert decide(coarse, fine)[0] is Verdict.UNKNOWN
    equal = [nvjet(4, tile=(128, 8, step), algorithm=log(k=4096)) for step in (64, 128)]
    assert decide(*equal)[0] is Verdict.SAME_ORDER
    unequal = [nvjet(5, tile=(128, 8, step), algorithm=log(k=4096)) for step in (64, 128)]
    assert decide(*unequal)[0] is Verdict.UNKNOWN


def test_a_factor_that_nobody_knows_is_unknown():
    assert decide(nvjet(None), nvjet(None, tile=(64, 16, 64)))[0] is Verdict.UNKNOWN


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
    assert decide(cutlass, xmma)[0] is Verdict.UNKNOWN


@pytest.mark.parametrize("role", ["elementwise", "copy"])
def test_kernels_that_never_reduce_keep_the_order_whatever_the_launch(role):
    assert decide(kernel("x", role=role), kernel("y", role=role, grid=(9, 1, 1)))[0] is Verdict.SAME_ORDER


def test_a_torch_reduction_with_the_same_threads_per_row_keeps_the_order():
    name = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>>>(T3)"
    first = kernel(name, role="reduction", block=(128, 4, 1), grid=(2, 1, 1))
    assert decide(first, kernel(name, role="reduction", block=(128, 4, 1), grid=(4, 1, 1)))[0] is Verdict.SAME_ORDER
    other = kernel(name, role="reduction", block=(64, 8, 1), grid=(2, 1, 1))
    assert decide(first, other) == (Verdict.UNKNOWN, "block 128×4×1 → 64×8×1")
    assert decide(first, kernel(name, role="reduction", block=(128, 4, 1), grid=(2, 8, 1)))[0] is Verdict.UNKNOWN


def test_a_kernel_of_an_unknown_family_with_another_launch_is_unknown():
    assert decide(kernel("x"), kernel("x", grid=(2, 1, 1)))[0] is Verdict.UNKNOWN


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
    elementwise = kernel("e", role="elementwise")
    pairs = [(elementwise, kernel("e", role="elementwise", grid=(2, 1, 1))), (nvjet(1), nvjet(1, tile=(64, 8, 64)))]
    assert judge_row(pairs)[1:] == (Verdict.SAME_ORDER, "tile only, unsplit, same k-step")


def test_a_copy_without_counterpart_keeps_the_order_and_other_kernels_are_unknown():
    assert decide(None, kernel("c", role="copy"))[0] is Verdict.SAME_ORDER
    assert decide(kernel("e", role="elementwise"), None) == (Verdict.UNKNOWN, "elementwise kernel only in a")
    with pytest.raises(ValueError, match="needs a kernel"):
        decide(None, None)


def test_segments_of_k_are_unknown_and_unsplit_xmma_tiles_keep_the_order():
    def xmma(tile, segment_k=False):
        return kernel(
            f"xmma{tile}{segment_k}", "xmma", "gemm", split_k=1, tile=tile, details=(("segment_k", segment_k),)
        )

    assert decide(xmma((64, 64, 32)), xmma((128, 64, 32)))[0] is Verdict.SAME_ORDER
    assert decide(xmma((64, 64, 32)), xmma((64, 64, 32), True))[0] is Verdict.UNKNOWN


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

    assert decide(split(8, 1), split(8, None))[0] is Verdict.ORDER_CHANGED
    assert decide(split(2, 1), split(2, None))[0] is Verdict.SAME_ORDER
    assert decide(split(8, 2), split(8, None))[0] is Verdict.SAME_ORDER


def test_parts_of_equal_length_may_be_added_inside_the_kernel_or_after_it():
    def split(name):
        algorithm = log(k=4096)
        return kernel(name, "xmma", "gemm", split_k=4, tile=(32, 64, 8), op_class="ffma", algorithm=algorithm)

    reduce = kernel("execute_split_k_kernel", "xmma", "splitk_reduce")
    assert judge_row([(split("a"), split("b")), (None, reduce)])[1] is Verdict.SAME_ORDER


def test_attention_is_judged_by_its_kv_parts():
    def flash(parts, batch):
        return kernel(
            "flash_fwd_splitkv_kernel",
            "flash_attn2",
            "attention",
            split_k_form="split-kv",
            grid=(1, parts, 32 * batch),
        )

    whole = kernel("flash_fwd_kernel", "flash_attn2", "attention", split_k_form="none")
    assert decide(flash(4, 1), flash(2, 2)) == (Verdict.ORDER_CHANGED, "split-KV 4 → 2")
    assert decide(flash(4, 1), flash(4, 2))[0] is Verdict.SAME_ORDER
    assert decide(flash(4, 1), whole)[0] is Verdict.ORDER_CHANGED


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
    assert decide(half, single) == (Verdict.ORDER_CHANGED, "type of a f16 → f32")
