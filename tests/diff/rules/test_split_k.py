"""Where the split-K factor comes from."""

from dataclasses import replace

from tests.diff.rules.make import kernel, log, splitk_reduce
from tracediff.diff.split_k import infer


def factor(*kernels, sm_count=132):
    first = infer(kernels, sm_count)[0]
    return first.split_k, first.split_k_source


def nvjet_launch(grid, form="stated", algorithm=None):
    return kernel(
        "nvjet", "nvjet", "gemm", tile=(128, 8, 64), cluster=(4, 1), split_k_form=form, grid=grid, algorithm=algorithm
    )


def reduce_launch(grid):
    return splitk_reduce(grid=grid, block=(32, 16, 1))


def test_the_log_is_believed_before_the_name():
    assert factor(nvjet_launch((4, 24, 1), form="none", algorithm=log(split_k=3))) == (3, "log")


def test_a_log_without_a_factor_says_nothing():
    assert factor(nvjet_launch((4, 24, 1), form="none", algorithm=log(split_k=None))) == (1, "name")


def test_an_unsplit_name_is_a_factor_of_one():
    assert factor(nvjet_launch((4, 28, 1), form="none")) == (1, "name")


def test_a_number_in_the_name_is_the_factor():
    plain = kernel("k", "trtllm_gen_gemm", "gemm")
    assert factor(plain) == (None, None)
    assert factor(replace(plain, parsed=replace(plain.parsed, split_k=6))) == (6, "name")


def test_blocks_over_tiles_give_the_factor_of_a_real_launch():
    # q_proj of Llama-3-8B at 6 tokens: m = 4096 is 32 tiles of 128, and 96 blocks are three for each.
    assert factor(nvjet_launch((4, 24, 1)), reduce_launch((128, 1, 1))) == (3, "inferred")


def test_two_possible_factors_are_none():
    # 128 blocks: four for each of 32 tiles, or two for each of 64.
    assert factor(nvjet_launch((4, 32, 1)), reduce_launch((128, 1, 1)), sm_count=200) == (None, None)


def test_a_grid_that_fills_the_gpu_says_nothing():
    assert factor(nvjet_launch((4, 33, 1)), reduce_launch((128, 1, 1))) == (None, None)
    assert factor(nvjet_launch((4, 24, 1)), reduce_launch((128, 1, 1)), sm_count=None) == (None, None)


def test_a_reduction_whose_blocks_loop_says_nothing():
    assert factor(nvjet_launch((4, 24, 1)), reduce_launch((128, 4, 1))) == (None, None)


def test_parts_of_cutlass_lie_along_grid_z():
    cutlass = kernel("c", "cutlass2x", "gemm", grid=(8, 1, 16))
    assert factor(cutlass, splitk_reduce()) == (16, "inferred")
    # Without a reduction behind it, 16 layers may as well be 16 products.
    assert factor(cutlass) == (None, None)
    assert factor(kernel("c", "cutlass2x", "gemm", grid=(8, 4, 1))) == (1, "inferred")


def test_only_products_have_a_factor():
    assert factor(kernel("e", role="elementwise", grid=(1, 1, 1))) == (None, None)
    assert infer([], 132) == ()
