import pytest

from tests.changed import replace
from tracediff.diff.chosen_modules import choose_modules
from tracediff.diff.result import Verdict
from tracediff.measured import Bits, Control, ModuleBits, Repair, RunEvidence
from tracediff.report.diff.html.build import build_report
from tracediff.report.diff.html.measured import bits_in_words, contradiction
from tracediff.report.diff.html.render import render_report

from .samples import blocks, diff, kernel, row

DIFFERS = ModuleBits(
    isolated=Bits(equal=False, share=0.374, max_ulp=2), propagated=Bits(equal=False, share=0.5, max_ulp=7)
)
EQUAL = ModuleBits(isolated=Bits(equal=True), propagated=Bits(equal=True))


def said_against(verdict: Verdict, evidence: ModuleBits) -> str:
    return contradiction(row(kernel(), kernel(), verdict, evidence=evidence))


def test_bits_are_said_with_share_and_ulp() -> None:
    assert bits_in_words(DIFFERS.isolated) == "differ: 37.4 % of elements, up to 2 ULP"
    assert bits_in_words(Bits(equal=False, share=0.5, max_ulp=None)) == "differ: 50.0 % of elements"
    assert bits_in_words(None) == ""


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
    assert {cell.sign.style for cell in report.phases[0].heat[0].cells if cell} == {"contradicted"}
    page = render_report(report)
    assert page.index("Prediction contradicted by measurement") < page.index("<h1")
    assert "contradicted by measurement in 3 of 3" in page


def test_contradictions_of_modules_that_are_not_shown_are_not_announced_below() -> None:
    broken = blocks(3, verdict=Verdict.SAME_ORDER, reason="other cluster", evidence=DIFFERS)
    other = row(kernel(), kernel(), module="lm_head", evidence=EQUAL)
    compared = diff(*broken, other)
    assert build_report(compared, modules=choose_modules(compared.rows, "lm_head")).contradictions == ()
    report = build_report(compared, modules=choose_modules(compared.rows, "layers.0"))
    assert len(report.contradictions) == 1
    assert "below" not in report.contradictions[0]


def test_the_chain_counts_origins_and_names_the_first() -> None:
    rows = (*blocks(2, evidence=DIFFERS), row(kernel(), kernel(), layer=0, evidence=EQUAL))
    report = build_report(diff(*rows))
    assert [(step.title, step.value) for step in report.chain][2] == ("Bits of one module", "2 of 3")
    group = report.phases[0].groups[0]
    assert group.isolated == "differ, 37.4 %, ≤ 2 ULP"
    assert group.isolated_equal is False


def test_without_evidence_the_chain_says_not_measured() -> None:
    report = build_report(diff(*blocks(2)))
    assert [step.value for step in report.chain][2:] == ["not measured"] * 3
    assert not report.measured


RUN = RunEvidence(
    batches=(1, 2),
    first_origin=("prefill", "model.layers.0.self_attn.q_proj"),
    logits={"prefill": Bits(equal=True), "decode[0]": Bits(equal=False, share=0.5, max_ulp=3)},
    tokens={"prefill": (7, 7), "decode[0]": (7, 9)},
    repair=Repair(minimal=("q_proj", "o_proj"), logits_equal=True, complement_logits_equal=False, tried=4),
    controls={
        "run_to_run": Control(equal=True, compared="6 phases"),
        "neighbours": Control(equal=False, compared="6 phases", first="decode[0]", share=0.1, max_ulp=1),
        "profiler": Control(equal=None, compared="6 phases"),
    },
    notes=("no repair was sought at batch 8",),
)


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
    assert run.notes == ("no repair was sought at batch 8",)


def test_a_run_without_logits_and_tokens_is_not_measured() -> None:
    report = build_report(diff(*blocks(2), evidence=RunEvidence(batches=(1, 2))))
    assert [step.value for step in report.chain[3:]] == ["not measured"] * 2


def test_logits_and_tokens_that_agree_are_said_to_in_all_phases() -> None:
    one = RunEvidence(batches=(1, 2), logits={"prefill": Bits(equal=True)}, tokens={"prefill": (7, 7)})
    two = replace(one, logits={**one.logits, "decode[0]": Bits(equal=True)}, tokens={**one.tokens, "decode[0]": (3, 3)})
    for evidence, where in ((one, "in the one phase measured"), (two, "in all 2 phases")):
        steps = build_report(diff(*blocks(2), evidence=evidence)).chain[3:]
        assert [(step.value, step.text, step.state) for step in steps] == [
            ("equal bits", where, "clear"),
            ("same", where, "clear"),
        ]


def test_a_failed_control_stands_out() -> None:
    page = render_report(build_report(diff(*blocks(2), evidence=RUN)))
    assert '<strong class="contradicted">! differ: 10.0 % of elements, up to 1 ULP, first: decode[0]</strong>' in page
    assert page.count('class="failed"') == 1
    assert page.index("A control failed: bits changed that must not") < page.index("<h1")
