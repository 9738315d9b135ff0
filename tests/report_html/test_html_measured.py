from typing import Any

import pytest

from tracediff.diff.result import Verdict
from tracediff.report.html.build import build_report
from tracediff.report.html.measured import contradiction, read_measured
from tracediff.report.html.render import render_report

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


def test_evidence_of_the_run_gives_the_last_links_and_is_all_shown() -> None:
    run = {
        "logits": {"prefill": {"equal": True}, "decode[0]": {"equal": False, "max_ulp": 3}},
        "tokens": {"equal": True},
        "repair": {"modules": ["q_proj", "o_proj"], "logits_equal": True},
        "odd": 3.5,
    }
    report = build_report(diff(*blocks(2), evidence=run))
    assert [(step.value, step.state) for step in report.chain[3:]] == [("1 of 2 differ", "changed"), ("same", "clear")]
    assert dict(report.evidence)["repair"] == (("modules", "q_proj, o_proj"), ("logits equal", "yes"))
    assert dict(report.evidence)["odd"] == (("", "3.5"),)
