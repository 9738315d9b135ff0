"""The same kernels, recorded by nsys and by torch's profiler on the same GPU."""

from pathlib import Path

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


def test_names_that_no_grammar_reads_are_never_equated():
    assert same_kernels(table([("p", "m", "mine")]), table([("p", "m", "yours")], profiler="torch")) == {}


def test_names_that_say_the_same_of_two_kernels_are_left_alone():
    spelled_twice = [("p", "m", SMALL), ("p", "m", f"void cutlass::Kernel2<{SMALL}>({SMALL}::Params)")]
    a, b = table(spelled_twice), table([("p", "m", f"void x::Kernel<{SMALL}>()")], profiler="torch")
    assert same_kernels(a, b) == {}
