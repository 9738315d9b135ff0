"""The rules against what was measured: the stored sweeps of an H100 and an H200."""

import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import analyse_sweep  # noqa: E402
import document_rules  # noqa: E402
from hypothesis import given, settings, strategies  # noqa: E402
from sweep_geometries import TUNING  # noqa: E402

from tracediff.diff.align import align  # noqa: E402
from tracediff.diff.result import Verdict  # noqa: E402
from tracediff.diff.rules import TABLES  # noqa: E402
from tracediff.diff.rules.same_launch import same_sum  # noqa: E402
from tracediff.diff.verdict import judge_row  # noqa: E402

# Tables that are asked first; whatever they do not decide, another table does.
FOLLOWED = ("Sums ordered by chance", "Sums across GPUs", "Any two GEMMs")
# Sections of the document that count the same pairs: judging them takes minutes, so it is done once for all.
SWEEP_SECTIONS = ("products", "reductions", "attention", "rules")


@pytest.fixture(scope="module")
def sweep():
    return analyse_sweep.read_sweep(document_rules.H200)


@pytest.fixture(scope="module")
def sweep_without_log():
    return analyse_sweep.read_sweep(document_rules.H200, use_log=False)


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


@pytest.mark.parametrize(("dtype", "most"), [("fp32", 0.01), ("TF32", 0.08)])
def test_32_bit_products_are_predicted_without_an_error_and_with_few_gaps(sweep, dtype, most):
    found = matrix(sweep, "gemm", dtype)
    assert found.count("equal", False) == 0
    assert unknown_share(found) < most
    # This sweep keeps row 0 alone, and TF32 kernels may cut k in the tiles of other rows only.
    assert found.count("differ", True) == 0 if dtype == "fp32" else found.count("differ", True) < 100


every_card = pytest.mark.parametrize("card", document_rules.CARDS)


# Goals for layers that no rule was written from: no false promise, and few that are left unknown.
MOST_UNKNOWN = {"fp16": 0.005, "bf16": 0.005, "fp32": 0.01, "TF32": 0.08}


@every_card
@pytest.mark.parametrize("use_log", [True, False], ids=["log", "no log"])
def test_a_sample_of_layers_that_no_rule_was_written_from_is_predicted_as_well(card, use_log):
    groups = document_rules.groups_by_part(document_rules.stored(card, "products"), use_log)
    pairs = 0
    for (part, dtype), cases in groups.items():
        if part != TUNING:
            found = analyse_sweep.confusion(cases[::40], analyse_sweep.predict_by_order)
            pairs += found.pairs
            assert found.count("equal", False) == 0, (part, dtype)
    assert pairs > 75_000


@every_card
def test_the_goals_hold_on_every_pair_that_no_rule_was_written_from(card):
    """Read from the document, whose table is that of this code and this data (tested below)."""
    text = document_rules.DOCUMENT.read_text(encoding="utf-8")
    pairs = 0
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] != card.upper() or cells[1] == TUNING or cells[2] not in MOST_UNKNOWN or len(cells) != 15:
            continue
        wrong, unknown, wrong_without_log = int(cells[10]), int(cells[12].split()[0]), int(cells[13])
        assert wrong == wrong_without_log == 0, line
        assert unknown < MOST_UNKNOWN[cells[2]] * int(cells[3]), line
        pairs += int(cells[3])
    assert pairs > 3_000_000


@every_card
def test_norms_of_other_widths_are_predicted_as_well(card):
    counts = [found.counts for found in document_rules.predicted(document_rules.stored(card, "reductions")).values()]
    found = analyse_sweep.Confusion(sum(counts, Counter()))
    assert found.pairs > 140_000
    assert found.count("equal", False) == 0
    assert unknown_share(found) < 0.01


@pytest.mark.parametrize("table", ["gemm", "reduction", "attention"])
def test_nothing_is_called_the_same_order_that_gave_other_bits(sweep, sweep_without_log, table):
    for read in (sweep, sweep_without_log):
        assert matrix(read, table, "").count("equal", False) == 0


@given(data=strategies.data())
@settings(max_examples=300, deadline=None)
def test_a_verdict_does_not_depend_on_which_trace_comes_first(sweep, data):
    table = data.draw(strategies.sampled_from(["gemm", "reduction", "attention"]))
    group = data.draw(strategies.sampled_from(sorted(key for key in sweep.groups if key[0] == table)))
    cases = strategies.sampled_from(sweep.groups[group])
    a, b = data.draw(cases).kernels, data.draw(cases).kernels
    assert judge_row(align(a, b))[1] is judge_row(align(b, a))[1]
    steady = all(same_sum(kernel, kernel) for kernel in a)
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


@pytest.mark.parametrize("sections", [["evidence"], pytest.param(SWEEP_SECTIONS, marks=pytest.mark.slow)])
def test_the_document_holds_the_tables_of_this_code_and_this_data(sections):
    text = document_rules.DOCUMENT.read_text(encoding="utf-8")
    assert document_rules.document(text, sections) == text, "run scripts/document_rules.py"


def test_the_document_names_every_rule_with_its_verdict_and_source():
    text = document_rules.DOCUMENT.read_text(encoding="utf-8")
    for rules in TABLES.values():
        for rule in rules:
            assert f"| {rule.name} | {rule.verdict} | {rule.source} |" in text


def test_every_table_ends_with_a_rule_for_every_pair_or_is_followed_by_one():
    for title, rules in TABLES.items():
        names = [rule.name for rule in rules]
        assert len(set(names)) == len(names)
        if title not in FOLLOWED:
            assert rules[-1].when(None, None) is True
