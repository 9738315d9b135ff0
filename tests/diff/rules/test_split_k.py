"""Where the split-K factor comes from."""

from tests.changed import replace
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


def test_what_has_no_grid_has_no_factor():
    assert factor(nvjet_launch((4, 24, 1)), reduce_launch((0, 0, 0))) == (None, None)
    assert factor(nvjet_launch((0, 0, 0)), reduce_launch((128, 1, 1))) == (None, None)
    flat = replace(nvjet_launch((4, 24, 1)), parsed=replace(nvjet_launch((4, 24, 1)).parsed, tile=(0, 8, 64)))
    assert factor(flat, reduce_launch((128, 1, 1))) == (None, None)
    alone = replace(flat, parsed=replace(flat.parsed, tile=(128, 8, 64), cluster=(0, 0)))
    assert factor(alone, reduce_launch((128, 1, 1))) == (None, None)


def test_segments_of_k_are_counted_by_blocks_and_tiles_whatever_the_log_says():
    problem = log(split_k=1, m=4096, n=100, k=4096, tile=(128, 128), cluster=(1, 1, 1))
    segments = kernel("x", "xmma", "gemm", details=(("segment_k", True),), algorithm=problem, grid=(128, 1, 1))
    assert factor(segments) == (4, "inferred")
    assert factor(replace(segments, grid=(40, 1, 1))) == (None, None)
    assert factor(replace(segments, algorithm=log(split_k=1))) == (None, None)
    assert factor(replace(segments, parsed=replace(segments.parsed, details=(("segment_k", False),)))) == (1, "log")


def test_the_reduction_must_be_the_next_kernel_and_of_the_known_shape():
    split = nvjet_launch((4, 24, 1))
    between = kernel("e", role="elementwise")
    assert factor(split, between, reduce_launch((128, 1, 1))) == (None, None)
    assert factor(split, replace(reduce_launch((128, 1, 1)), block=(32, 8, 1))) == (None, None)


def test_a_grid_that_leaves_less_than_a_cluster_free_says_nothing():
    # 24 blocks a cluster column: at most 132 - 4 = 128 blocks are certain not to loop over tiles.
    split, reduce = nvjet_launch((4, 24, 1)), reduce_launch((128, 1, 1))
    assert factor(split, reduce, sm_count=100) == (3, "inferred")
    assert factor(split, reduce, sm_count=99) == (None, None)


def test_a_reduction_of_511_blocks_still_tells_the_size_of_the_output():
    # 511 = 73 x 7 blocks of 32 x 16: 2,336 x 112 outputs, 19 tiles of 128 in clusters of 4 are 20, 14 tiles of 8.
    assert factor(nvjet_launch((4, 20, 2)), reduce_launch((73, 7, 1)), sm_count=400) == (None, None)
    wide = replace(nvjet_launch((20, 2, 1)), parsed=replace(nvjet_launch((1, 1, 1)).parsed, tile=(128, 112, 64)))
    assert factor(wide, reduce_launch((73, 7, 1))) == (2, "inferred")
    assert factor(wide, reduce_launch((64, 8, 1))) == (None, None)


def test_tiles_along_both_sides_of_the_output_are_counted():
    # 2,048 x 17 to 32 outputs: 16 tiles of 128 by 2 of 16, so 96 blocks are three for each.
    wide = nvjet_launch((4, 24, 1))
    wide = replace(wide, parsed=replace(wide.parsed, tile=(128, 16, 64)))
    assert factor(wide, reduce_launch((64, 2, 1))) == (3, "inferred")
    # One block for each tile is no split.
    assert factor(replace(wide, grid=(4, 8, 1)), reduce_launch((64, 2, 1))) == (None, None)
