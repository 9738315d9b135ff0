from typing import Any

import pytest

from tracediff.diff.result import Verdict
from tracediff.report.diff.html.build import build_report
from tracediff.report.diff.html.measured import contradiction, read_measured
from tracediff.report.diff.html.render import render_report
from tracediff.report.diff.html.run_evidence import logits_step, read_run, token_step

from .samples import blocks, diff, kernel, row

DIFFERS = {
    "isolated": {"equal": False, "share": 0.374, "max_ulp": 2},
    "propagated": {"equal": False, "share": 0.5, "max_ulp": 7},
    "state": "origin",
}
EQUAL = {"isolated": {"equal": True, "share": 0.0, "max_ulp": 0}, "propagated": {"equal": True}, "state": "clean"}


def said_against(verdict: Verdict, evidence: dict[str, Any]) -> str:
    return contradiction(row(kernel(), kernel(), verdict, evidence=evidence), read_measured(evidence))


@pytest.mark.parametrize(
    "odd", [None, {}, {"isolated": None}, {"isolated": {"equal": "no"}}, {"else": 1}, {"state": 3}]
)
def test_what_says_nothing_about_bits_is_no_evidence(odd: dict[str, Any] | None) -> None:
    assert read_measured(odd) is None


def test_unknown_keys_and_missing_numbers_are_tolerated() -> None:
    measured = read_measured({"isolated": {"equal": False, "share": None, "new": 1}, "extra": {}})
    assert measured is not None and measured.isolated is not None
    assert measured.isolated.text == "differ"
    assert measured.propagated is None


def test_bits_are_said_with_share_and_ulp() -> None:
    measured = read_measured(DIFFERS)
    assert measured is not None and measured.isolated is not None
    assert measured.isolated.text == "differ: 37.4 % of elements, up to 2 ULP"


@pytest.mark.parametrize("verdict", [Verdict.SAME_ORDER, Verdict.SAME_KERNELS])
def test_other_bits_contradict_a_promise_of_equal_bits(verdict: Verdict) -> None:
    assert f"predicted {verdict.value}, but" in said_against(verdict, DIFFERS)
    assert said_against(verdict, EQUAL) == ""


@pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.ORDER_CHANGED])
def test_equal_or_other_bits_contradict_no_open_verdict(verdict: Verdict) -> None:
    assert said_against(verdict, DIFFERS) == said_against(verdict, EQUAL) == ""


def test_a_contradiction_stands_on_the_first_screen_in_the_map_and_at_its_module() -> None:
    broken = blocks(3, verdict=Verdict.SAME_ORDER, reason="other cluster", evidence=DIFFERS)
    report = build_report(diff(*broken))
    assert len(report.contradictions) == 3
    assert "model.layers.0.self_attn.q_proj" in report.contradictions[0]
    assert {cell.mark for cell in report.phases[0].heat[0].cells if cell} == {"contradiction"}
    page = render_report(report)
    assert page.index("Prediction contradicted by measurement") < page.index("<h1")
    assert "contradicted by measurement in 3 of 3" in page


def test_the_chain_counts_origins_and_names_the_first() -> None:
    rows = (*blocks(2, evidence=DIFFERS), row(kernel(), kernel(), layer=0, evidence=EQUAL))
    report = build_report(diff(*rows))
    assert [(step.title, step.value) for step in report.chain][2] == ("Bits of one module", "2 of 3")
    assert "The first is model.layers.0.self_attn.q_proj in prefill." in report.story
    group = report.phases[0].groups[0]
    assert group.isolated == "differ, 37.4 %, ≤ 2 ULP"
    assert group.isolated_equal is False


def test_without_evidence_the_chain_says_not_measured() -> None:
    report = build_report(diff(*blocks(2)))
    assert [step.value for step in report.chain][2:] == ["not measured"] * 3
    assert not report.measured


RUN = {
    "schema": 1,
    "batches": [1, 2],
    "first_origin": {"phase": "prefill", "module": "model.layers.0.self_attn.q_proj"},
    "logits": {
        "prefill": {"equal": True, "share": 0.0, "max_ulp": 0},
        "decode[0]": {"equal": False, "share": 0.5, "max_ulp": 3},
    },
    "tokens": {"prefill": {"equal": True, "a": 7, "b": 7}, "decode[0]": {"equal": False, "a": 7, "b": 9}},
    "repair": {"minimal": ["q_proj", "o_proj"], "logits_equal": True, "complement_logits_equal": False},
    "controls": {
        "run_to_run": {"equal": True, "compared": 6, "first": None, "share": 0.0, "max_ulp": 0},
        "neighbours": {"equal": False, "compared": 6, "first": "decode[0]", "share": 0.1, "max_ulp": 1},
        "profiler": {"equal": None},
    },
    "new_in_a_later_version": 3.5,
}


def test_evidence_of_the_run_gives_the_last_links_of_the_chain() -> None:
    report = build_report(diff(*blocks(2), evidence=RUN))
    assert [(step.value, step.text) for step in report.chain[3:]] == [
        ("1 of 2 differ", "first in decode[0]"),
        ("1 of 2 flip", "first in decode[0]: 7 → 9"),
    ]


def test_evidence_of_the_run_is_read_with_what_must_hold() -> None:
    run = build_report(diff(*blocks(2), evidence=RUN)).run
    assert run is not None
    assert run.repair == (
        "Computing q_proj and o_proj row by row makes the logits bit-identical; "
        "doing that to all the other modules does not."
    )
    assert [(control.equal, control.text) for control in run.controls] == [
        (True, "equal"),
        (False, "differ: 10.0 % of elements, up to 1 ULP, first: decode[0]"),
        (None, "not measured"),
    ]
    assert run.others == (("new in a later version", "3.5"),)


@pytest.mark.parametrize("odd", [{}, {"logits": 1, "tokens": [], "repair": None, "controls": {"x": 3}}])
def test_odd_evidence_of_the_run_is_not_measured(odd: dict[str, Any]) -> None:
    run = read_run(odd)
    assert [step.value for step in (logits_step(run), token_step(run))] == ["not measured"] * 2


def test_a_failed_control_stands_out() -> None:
    page = render_report(build_report(diff(*blocks(2), evidence=RUN)))
    assert '<strong class="contradicted">! differ: 10.0 % of elements, up to 1 ULP, first: decode[0]</strong>' in page
    assert page.count('class="failed"') == 1
    assert page.index("A control failed: bits changed that must not") < page.index("<h1")
