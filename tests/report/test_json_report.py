"""JSON: the form that programs rely on (schema 2)."""

import json

from tests.diff.tables import table
from tests.report.test_csv_report import GEMM, REDUCE, SPLIT
from tracediff.diff import diff_tables
from tracediff.diff.show import show_table
from tracediff.report.diff.json import diff_to_json, show_to_json

A = table([("prefill", "model.layers.5.q_proj", GEMM), ("prefill", "", "k<x>"), (None, "", "outside")], batch=1)
B = table([("prefill", "model.layers.5.q_proj", SPLIT), ("prefill", "model.layers.5.q_proj", REDUCE)], batch=2)


def document(a=A, b=B):
    return json.loads(diff_to_json(diff_tables(a, b)))


def test_the_summary_counts_kernels_reductions_modules_and_verdicts():
    summary = document()["summary"]
    assert summary["kernels"] == [3, 2]
    assert summary["splitk_reduce"] == [0, 1]
    assert summary["modules"] == 3
    assert set(summary["verdicts"]) == {"same-kernels", "same-order", "order-changed", "unknown"}
    assert sum(summary["verdicts"].values()) == 3


def test_a_row_holds_both_sides_in_launch_order():
    both = document()
    row = next(row for row in both["rows"] if row["module"] == "model.layers.5.q_proj")
    assert (row["phase"], row["layer"]) == ("prefill", 5)
    assert [both["kernels"][place]["name"] for place in row["a"]] == [GEMM]
    assert [both["kernels"][place]["name"] for place in row["b"]] == [SPLIT, REDUCE]
    assert row["splitk_reduce"] == [0, 1]
    assert row["split_k"] == [1, None]
    assert row["evidence"] is None
    assert [entry[:2] for entry in row["aligned"]] == [[0, 0], [None, 1]]


def test_kernels_under_a_phase_and_outside_every_range_have_their_rows():
    places = {(row["phase"], row["module"]) for row in document()["rows"]}
    assert {("prefill", ""), (None, "other")} <= places


def test_unknown_values_are_null_and_never_left_out():
    both = document()
    row = both["rows"][-1]
    kernel = both["kernels"][row["a"][0]]
    assert kernel["name"] == "outside"
    for field in ("tile", "stages", "cluster", "arch", "types", "split_k", "split_k_source", "algorithm"):
        assert kernel[field] is None
    assert kernel["grid"] == [1, 1, 1]
    assert kernel["block"] == [128, 1, 1]
    assert (kernel["registers"], kernel["shared_memory_bytes"]) == (32, 0)
    assert row["durations_ns"] == [[500], []]


def test_where_a_trace_comes_from_is_said():
    both = document()
    assert (both["a"]["batch"], both["b"]["batch"]) == (1, 2)
    assert both["a"]["path"] == "made.sqlite"
    assert both["schema"] == 2


def test_a_diff_of_nothing_in_common_is_still_valid():
    empty = document(table([("x", "m", "k")]), table([("y", "n", "k")]))
    assert [(row["phase"], len(row["a"]), len(row["b"])) for row in empty["rows"]] == [("y", 0, 1), ("x", 1, 0)]


def test_show_lists_each_modules_kernels():
    shown = json.loads(show_to_json(B, *show_table(B)))
    assert shown["summary"]["kernels"] == 2
    assert [shown["kernels"][place]["role"] for place in shown["rows"][0]["kernels"]] == ["gemm", "splitk_reduce"]


def test_the_coverage_is_told_whole():
    coverage = document()["a"]["coverage"]
    assert coverage["kernels"] == sum(
        coverage[place] for place in ("in_module", "in_phase_only", "outside_ranges", "no_launch")
    )
    assert {"captured", "from_other_threads"} <= coverage.keys()
