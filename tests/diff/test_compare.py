"""Comparing two kernel tables."""

from tests.diff.tables import table
from tracediff.diff import Verdict, diff_tables

COPY = "void at::native::(anonymous namespace)::direct_copy_kernel_cuda"


def test_a_module_that_one_trace_lacks_is_unknown_whatever_it_ran():
    diff = diff_tables(table([("prefill", "m", "k")]), table([("prefill", "m", "k"), ("prefill", "n", COPY)]))
    row = next(row for row in diff.rows if row.module == "n")
    assert (row.verdict, row.reason) == (Verdict.UNKNOWN, "only in b")


def test_modules_of_b_alone_stand_after_their_predecessor():
    a = table([("prefill", "first", "k"), ("prefill", "last", "k")])
    b = table([("prefill", "first", "k"), ("prefill", "middle", "k"), ("prefill", "last", "k")])
    assert [row.module for row in diff_tables(a, b).rows] == ["first", "middle", "last"]


def test_other_machines_and_types_are_compared_with_a_warning():
    a, b = (table([("prefill", "m", "k")], gpu=gpu, dtype=dtype) for gpu, dtype in (("H100", "f"), ("H200", "g")))
    warnings = diff_tables(a, b).warnings
    assert any("H100 and H200" in warning for warning in warnings)
    assert any("element types" in warning for warning in warnings)


def test_nothing_in_common_is_said():
    diff = diff_tables(table([("prefill", "m", "k")]), table([("other", "n", "k")]))
    assert any("in common" in warning for warning in diff.warnings)


def test_the_same_file_twice_is_said(tmp_path):
    path = tmp_path / "trace.sqlite"
    path.touch()
    one = table([("prefill", "m", "k")], path=str(path))
    assert "a and b are the same file." in diff_tables(one, one).warnings


def test_a_side_counts_its_kernels_its_split_k_reductions_and_its_time():
    reduces = "void cublasLt::splitKreduce_kernel<32, 16, int, float, __half>(int)"
    a = table([("prefill", "m", "k"), ("prefill", "m", reduces), ("prefill", "n", "k")])
    found = diff_tables(a, table([("prefill", "m", "k")]))
    assert (found.a.kernels, found.a.splitk_reduce, found.a.duration_ns) == (3, 1, 1500)
    assert (found.b.kernels, found.b.splitk_reduce, found.b.duration_ns) == (1, 0, 500)
    assert found.a.coverage.kernels == 3 and found.a.info is a.info
