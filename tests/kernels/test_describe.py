"""The one line that says what a kernel name states."""

import pytest

from tracediff.kernels import Types, describe
from tracediff.kernels.model import KernelName


def line(**stated):
    return describe(KernelName(**{"name": "k", "family": "nvjet", "role": "gemm", **stated}))


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({}, "nvjet GEMM"),
        ({"types": Types(a="f16", partial="f32")}, "nvjet f16 GEMM"),
        ({"types": Types(a="f16", b="f16")}, "nvjet f16 GEMM"),
        ({"types": Types(a="e4m3", b="e2m1")}, "nvjet e4m3×e2m1 GEMM"),
        ({"types": Types(partial="f32"), "role": "splitk_reduce"}, "nvjet f32 split-K reduction"),
        ({"types": Types(output="f16")}, "nvjet GEMM"),
        ({"role": "attention"}, "nvjet attention"),
        ({"role": "elementwise"}, "nvjet elementwise"),
        ({"role": "reduction"}, "nvjet reduction"),
        ({"role": "copy"}, "nvjet copy"),
        ({"role": "other", "kernel": "scan"}, "nvjet scan"),
        ({"role": "other", "kind": "sort", "kernel": None}, "nvjet sort"),
        ({"role": "other"}, "nvjet unknown kernel"),
        ({"family": "other", "role": "other", "kernel": "scan"}, "scan"),
        ({"family": "other", "kernel": "scan"}, "GEMM, scan"),
        ({"family": "cublas_gemv_misc", "kernel": "gemmSN"}, "gemmSN GEMM"),
        ({"family": "cublas_gemv_misc"}, "cublas_gemv_misc GEMM"),
        ({"kind": "grouped", "kernel": "f"}, "nvjet GEMM, grouped"),
        ({"kernel": "f"}, "nvjet GEMM, f"),
        ({"kind": "gemm"}, "nvjet GEMM"),
        ({"tile": (128, 8, 64)}, "nvjet GEMM, tile 128×8×64"),
        ({"tile": (128, 8, None)}, "nvjet GEMM, tile 128×8"),
        ({"head_dim": 128}, "nvjet GEMM, head dimension 128"),
        ({"stages": 1}, "nvjet GEMM, 1 stage"),
        ({"stages": 12}, "nvjet GEMM, 12 stages"),
        ({"cluster": (4, 1), "warps": (2, 2, 1)}, "nvjet GEMM, cluster 4×1, warps 2×2×1"),
        (
            {"schedule": "pingpong", "epilogue": "relu", "sliced_k": 2},
            "nvjet GEMM, pingpong, epilogue relu, sliced-K 2",
        ),
        ({"split_k_form": "none"}, "nvjet GEMM, unsplit"),
        ({"split_k_form": "stated"}, "nvjet GEMM, split-K (factor not in the name)"),
        ({"split_k_form": "stated", "split_k": 3}, "nvjet GEMM, split-K 3"),
        ({"split_k_form": "split-kv"}, "nvjet GEMM, split over keys"),
        ({"split_k_form": "stream-k"}, "nvjet GEMM, split-K stream-k"),
        ({"split_k_form": "stated", "role": "splitk_reduce"}, "nvjet split-K reduction"),
        ({"unparsed": "tail"}, "nvjet GEMM, not read: tail"),
        ({"unparsed": "x" * 60}, f"nvjet GEMM, not read: {'x' * 60}"),
        ({"unparsed": "x" * 61}, f"nvjet GEMM, not read: {'x' * 59}…"),
        ({"kernel": "f", "unparsed": "f"}, "nvjet GEMM, not read: f"),
    ],
)
def test_each_field_has_its_words(stated, says):
    assert line(**stated) == says


def test_a_factor_that_is_told_beside_the_line_is_not_missed_in_it():
    split = KernelName(name="k", family="nvjet", role="gemm", split_k_form="stated")
    assert describe(split) == "nvjet GEMM, split-K (factor not in the name)"
    assert describe(split, factor_is_known=True) == "nvjet GEMM, split-K"
