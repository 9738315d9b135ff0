"""CSV: one line per aligned pair, harmless in a spreadsheet."""

import csv
import io

import tracediff
from tests.diff.tables import table
from tests.profiles import FLOAT16
from tracediff.diff import diff_tables
from tracediff.report.diff.csv import diff_to_csv

GEMM = "nvjet_sm90_hsh_64x8_64x16_4x1_v_bz_TNT"
SPLIT = "nvjet_sm90_hsh_64x16_64x16_2x1_v_bz_splitK_TNT"
REDUCE = (
    "void cublasLt::splitKreduce_kernel<(int)32, (int)16, int, float, __half, float, __half, (bool)1, __half, __half,"
    " __half, (bool)1, (bool)0, (bool)0, (bool)0>(cublasLt::cublasSplitKParams<T6>)"
)


def lines(diff):
    return list(csv.DictReader(io.StringIO(diff_to_csv(diff))))


def test_each_pair_is_a_line_and_a_lone_kernel_has_an_empty_side():
    a = table([("prefill", "model.layers.0.q_proj", GEMM)])
    b = table([("prefill", "model.layers.0.q_proj", SPLIT), ("prefill", "model.layers.0.q_proj", REDUCE)])
    gemm, reduce = lines(diff_tables(a, b))
    assert (gemm["phase"], gemm["layer"], gemm["module"], gemm["position"]) == (
        "prefill",
        "0",
        "model.layers.0.q_proj",
        "0",
    )
    assert (gemm["name_a"], gemm["name_b"]) == (GEMM, SPLIT)
    assert (gemm["tile_a"], gemm["tile_b"]) == ("64x8x64", "64x16x64")
    assert (gemm["split_k_a"], gemm["split_k_source_a"]) == ("1", "name")
    assert (reduce["name_a"], reduce["role_b"]) == ("", "splitk_reduce")


def test_a_name_that_is_a_formula_becomes_text():
    a = table([("=2+5", "-1", "@SUM(A1)"), ("+x", "m", "=cmd|' /C calc'!A0")])
    for line in lines(diff_tables(a, a)):
        for cell in (line["phase"], line["name_a"], line["name_b"]):
            assert cell.startswith("'")


def test_control_characters_are_written_out():
    a = table([("prefill", "m", "bad\x1b[31m\x00name\nnext")])
    (line,) = lines(diff_tables(a, a))
    assert line["name_a"] == r"bad\x1b[31m\x00name\nnext"


def test_the_bits_that_were_measured_of_a_module_stand_beside_its_pairs():
    result = tracediff.diff(FLOAT16 / "b1.sqlite", FLOAT16 / "b2.sqlite")
    measured = {(line["phase"], line["module"]): (line["bits_equal"], line["state"]) for line in lines(result.result)}
    expected = {
        (row.phase, row.module): ("" if row.bits_equal is None else str(row.bits_equal), row.state or "")
        for row in result.result.rows
    }
    assert measured == expected
    assert {bits for bits, _ in measured.values()} == {"True", "False", ""}
    assert measured["prefill", "model.layers.0.self_attn.q_proj"] == ("False", "origin")
