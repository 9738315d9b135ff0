"""CUTLASS kernels that go by their C++ template: tile, stages and how k is split."""

import pytest

from tracediff.kernels import parse

SHAPE = "cutlass::gemm::GemmShape<128, 256, 32>"
# Shape, iterators and cache operations of A and B, C's element and layout, policy, stages.
OPERANDS = (
    f"{SHAPE}, ItA, SmA, (cutlass::arch::CacheOperation::Kind)1, ItB, SmB, 0, float, cutlass::layout::RowMajor, Policy"
)


def template(main, kernel="Gemm", outer="cutlass::Kernel"):
    return f"void {outer}<cutlass::gemm::kernel::{kernel}<cutlass::gemm::threadblock::{main}, Epilogue>>(Params)"


@pytest.mark.parametrize("outer", ["cutlass::Kernel", "cutlass::Kernel2"])
def test_a_multistage_main_loop_states_tile_and_stages(outer):
    kernel = parse(template(f"MmaMultistage<{OPERANDS}, 4, 0, bool>", outer=outer))
    assert (kernel.family, kernel.role, kernel.kind) == ("cutlass2x", "gemm", "gemm")
    assert (kernel.tile, kernel.stages, kernel.split_k_form, kernel.unparsed) == ((128, 256, 32), 4, None, None)


@pytest.mark.parametrize("loop", ["MmaPipelined", "MmaSinglestage"])
def test_other_main_loops_state_the_tile_alone(loop):
    kernel = parse(template(f"{loop}<{OPERANDS}, 4, 0, bool>"))
    assert (kernel.family, kernel.tile, kernel.stages) == ("cutlass2x", (128, 256, 32), None)


def test_a_main_loop_that_is_cut_short_states_no_stages():
    kernel = parse(template(f"MmaMultistage<{SHAPE}, ItA>"))
    assert (kernel.tile, kernel.stages) == ((128, 256, 32), None)


@pytest.mark.parametrize("shape", ["GemmShape<128, 256>", "GemmShape<128, N, 32>", "Shape<128, 256, 32>"])
def test_a_shape_that_is_none_leaves_the_tile_open_and_the_rest_unread(shape):
    kernel = parse(template(f"MmaMultistage<cutlass::gemm::{shape}, ItA>"))
    assert kernel.family == "cutlass2x"
    assert kernel.tile is None and kernel.unparsed.startswith("MmaMultistage<")


@pytest.mark.parametrize(
    ("kind", "form"), [("GemmSplitKParallel", "parallel"), ("GemmUniversalStreamk", None), ("GemmStreamK", "stream-k")]
)
def test_how_k_is_split(kind, form):
    assert parse(template(f"MmaMultistage<{OPERANDS}, 3>", kernel=kind)).split_k_form == form


def test_the_sum_of_the_parts_is_a_kernel_of_its_own():
    kernel = parse(
        "void cutlass::Kernel<cutlass::reduction::kernel::ReduceSplitK<cutlass::MatrixShape<4, 128>, X, Y>>(P)"
    )
    assert (kernel.family, kernel.role, kernel.split_k_form) == ("cutlass2x", "splitk_reduce", "parallel")
    assert kernel.kernel == "ReduceSplitK"


def test_a_template_around_the_kernel_is_kept():
    name = template(f"MmaMultistage<{OPERANDS}, 3>", outer="cutlass::Kernel2<vllm::enable_sm80_to_sm89")
    assert parse(name).detail("wrapper") == "enable_sm80_to_sm89"
