"""The rules against what was measured: the stored sweep of an H200, and the real pair whose bits are known."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import analyse_sweep  # noqa: E402
import document_rules  # noqa: E402
from hypothesis import given, settings, strategies  # noqa: E402

from tracediff.diff.align import align  # noqa: E402
from tracediff.diff.result import Verdict  # noqa: E402
from tracediff.diff.rules import TABLES  # noqa: E402
from tracediff.diff.rules.attention import varies_from_run_to_run  # noqa: E402
from tracediff.diff.verdict import judge_row  # noqa: E402


@pytest.fixture(scope="module")
def sweep():
    return analyse_sweep.read_sweep(document_rules.SWEEP)


@pytest.fixture(scope="module")
def sweep_without_log():
    return analyse_sweep.read_sweep(document_rules.SWEEP, use_log=False)


def matrix(sweep, table, words):
    groups = [cases for (name, group), cases in sweep.groups.items() if name == table and words in group]
    return analyse_sweep.confusion(groups, analyse_sweep.predict_by_order)


def unknown_share(found):
    return (found.count("unknown", True) + found.count("unknown", False)) / found.pairs


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_16_bit_products_are_predicted_without_an_error_and_without_a_gap(sweep, dtype):
    found = matrix(sweep, "gemm", dtype)
    assert found.pairs == 16605
    assert found.count("equal", False) == found.count("differ", True) == 0
    assert unknown_share(found) == 0


@pytest.mark.parametrize(("dtype", "most"), [("fp32", 0.01), ("TF32", 0.20)])
def test_32_bit_products_are_predicted_without_an_error_and_with_few_gaps(sweep, dtype, most):
    found = matrix(sweep, "gemm", dtype)
    assert found.count("equal", False) == found.count("differ", True) == 0
    assert unknown_share(found) < most


@pytest.mark.slow
@pytest.mark.parametrize("table", ["gemm", "reduction", "attention"])
def test_nothing_is_called_the_same_order_that_gave_other_bits(sweep, sweep_without_log, table):
    for read in (sweep, sweep_without_log):
        assert matrix(read, table, "").count("equal", False) == 0


@given(data=strategies.data())
@settings(max_examples=300, deadline=None)
def test_a_verdict_does_not_depend_on_which_trace_comes_first(sweep, data):
    group = data.draw(strategies.sampled_from(sorted(sweep.groups)))
    cases = strategies.sampled_from(sweep.groups[group])
    a, b = data.draw(cases).kernels, data.draw(cases).kernels
    assert judge_row(align(a, b))[1] is judge_row(align(b, a))[1]
    steady = not any(varies_from_run_to_run(kernel) for kernel in a)
    assert judge_row(align(a, a))[1] is (Verdict.SAME_KERNELS if steady else Verdict.UNKNOWN)


def test_inferred_split_k_factors_are_those_of_the_log(sweep, sweep_without_log):
    inferred = 0
    for key, cases in sweep.groups.items():
        for logged, bare in zip(cases, sweep_without_log.groups[key], strict=True):
            for known, kernel in zip(logged.kernels, bare.kernels, strict=True):
                if kernel.split_k_source == "inferred" and known.split_k_source == "log":
                    inferred += 1
                    assert kernel.split_k == known.split_k
    assert inferred > 500


@pytest.mark.slow
def test_the_document_holds_the_tables_of_this_code_and_this_data():
    text = document_rules.DOCUMENT.read_text(encoding="utf-8")
    assert document_rules.document(text) == text, "run scripts/document_rules.py"


def test_every_table_ends_with_a_rule_for_every_pair_or_is_followed_by_one():
    for title, rules in TABLES.items():
        names = [rule.name for rule in rules]
        assert len(set(names)) == len(names)
        if title != "Any two GEMMs":
            assert rules[-1].when(None, None) is True
