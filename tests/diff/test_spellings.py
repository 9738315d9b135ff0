"""The same kernels, recorded by nsys and by torch's profiler on the same GPU."""

from pathlib import Path

import pytest

from tests.diff.tables import table
from tests.profiles import FLOAT16
from tracediff.diff import Verdict, diff_tables
from tracediff.diff.spellings import same_kernels
from tracediff.trace import read_trace

BY_TORCH = Path(__file__).parent / "data" / "llama-3-8b-float16-torch-b1.json.gz"
SMALL = "nvjet_sm90_hsh_64x8_64x16_4x1_v_bz_TNT"


def test_two_profilers_of_one_forward_saw_the_same_kernels():
    by_nsys, by_torch = read_trace(FLOAT16 / "b1.sqlite"), read_trace(BY_TORCH)
    assert set(by_nsys.names) != set(by_torch.names)
    diff = diff_tables(by_nsys, by_torch)
    assert [row.module for row in diff.rows if row.names_differ] == []
    assert diff.verdicts[Verdict.ORDER_CHANGED] == 0
    assert diff.a.kernels == diff.b.kernels == 4385
    # Without cuBLASLt's log the factor of some is not known: that is all that is left.
    assert {row.reason for row in diff.rows if row.verdict is Verdict.UNKNOWN} == {"split-K 4 → ?"}


def test_the_name_in_the_result_is_the_one_in_the_trace():
    by_nsys, by_torch = read_trace(FLOAT16 / "b1.sqlite"), read_trace(BY_TORCH)
    names = {kernel.parsed.name for row in diff_tables(by_nsys, by_torch).rows for kernel in row.b}
    assert names == set(by_torch.names)


def test_names_of_one_profiler_are_never_equated():
    a = table([("p", "m", f"void cutlass::Kernel2<{'cutlass_80_simt_sgemm_128x32_8x5_nn_align1'}>(T1::Params)")])
    b = table([("p", "m", "cutlass_80_simt_sgemm_128x32_8x5_nn_align1")])
    assert same_kernels(a, b) == {}


def test_functions_that_no_grammar_reads_are_told_apart_by_their_names():
    assert same_kernels(table([("p", "m", "mine")]), table([("p", "m", "yours")], profiler="torch")) == {}


@pytest.mark.parametrize(
    ("by_nsys", "by_torch"),
    [
        (
            "void <unnamed>::softmax_warp_forward<float, float, float, (int)3, (bool)0, (bool)0>(T2 *, int)",
            "void (anonymous namespace)::softmax_warp_forward<float, float, float, 3, false, false>(float*, int)",
        ),
        (
            "std::enable_if<!T7, void>::type internal::gemvx::kernel<int, int, float, float, float, float, (bool)0,"
            " (bool)1, (bool)1, (bool)0, (int)7, (bool)0, cublasGemvParamsEx<int, cublasGemvTensorStridedBatched<const"
            " float>, cublasGemvTensorStridedBatched<float>, float>>(T13)",
            "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, int, float, float, float, float, false,"
            " true, true, false, 7, false, cublasGemvParamsEx<int, cublasGemvTensorStridedBatched<float const>,"
            " cublasGemvTensorStridedBatched<float>, float> >(cublasGemvParamsEx<int>)",
        ),
        (
            "void gemmSN_TN_kernel<float, (int)128, (int)16, (int)2, (int)4, (int)6, (int)7, (bool)0,"
            " cublasGemvTensorStridedBatched<const float>>(cublasGemmSmallNParams<T9, T10, T11, T1>)",
            "void gemmSN_TN_kernel<float, 128, 16, 2, 4, 6, 7, false,"
            " cublasGemvTensorStridedBatched<float const> >(int)",
        ),
    ],
)
def test_the_spellings_of_both_profilers_are_known(by_nsys, by_torch):
    a, b = table([("p", "m", by_nsys)]), table([("p", "m", by_torch)], profiler="torch")
    assert same_kernels(a, b) == {by_torch: by_nsys}


def test_another_template_argument_is_another_kernel():
    a = table([("p", "m", "void gemmSN_TN_kernel<float, (int)128, (int)16, (int)2, (int)4, (int)6>(T1)")])
    b = table([("p", "m", "void gemmSN_TN_kernel<float, 128, 16, 2, 4, 5>(int)")], profiler="torch")
    assert same_kernels(a, b) == {}


def test_names_that_say_the_same_of_two_kernels_are_left_alone():
    spelled_twice = [("p", "m", SMALL), ("p", "m", f"void cutlass::Kernel2<{SMALL}>({SMALL}::Params)")]
    a, b = table(spelled_twice), table([("p", "m", f"void x::Kernel<{SMALL}>()")], profiler="torch")
    assert same_kernels(a, b) == {}
