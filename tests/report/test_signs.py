"""The signs of the reports: one meaning each, and none that a measurement and a prediction share."""

import re

import pytest

from tests.golden import run
from tests.profiles import BFLOAT16, FLOAT16, PROFILES
from tests.report.html.samples import blocks, diff
from tracediff.diff.result import Verdict
from tracediff.diff.standing import Standing
from tracediff.report.diff.html import render_html
from tracediff.report.diff.signs import OF_VERDICT, legend, sign

MEASURED = {Standing.CONTRADICTED, Standing.DIFFERS, Standing.UNSTABLE, Standing.MEASURED_EQUAL}
PAIRS = {
    "measured": (FLOAT16 / "b1.sqlite", FLOAT16 / "b2.sqlite"),
    "predicted": (PROFILES / "vllm" / "eager-b1.sqlite", PROFILES / "vllm" / "eager-b8.sqlite"),
    "nothing to tell": (FLOAT16 / "b1.sqlite", FLOAT16 / "b1.sqlite"),
    "two types": (FLOAT16 / "b1.sqlite", BFLOAT16 / "b1.sqlite"),
}


def test_no_measurement_shares_its_sign_with_a_prediction():
    measured = {sign(each, measured=True) for each in (*MEASURED, Standing.SAME)}
    predicted = {sign(each) for each in Standing if each not in MEASURED}
    assert not measured & predicted
    assert set(OF_VERDICT.values()) == predicted
    assert len({sign(each) for each in Standing}) == len(Standing)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("form", ["table", "markdown"])
def test_every_sign_on_the_screen_is_in_its_legend(name, form):
    screen = run("diff", *PAIRS[name], "--format", form, columns=200)
    told = next((line for line in screen.splitlines() if "measured: " in line or "predicted: " in line), "")
    begins = r"^(?:\| |- )?([=≠≈·Δ?~!])\s" if form == "markdown" else r"^([=≠≈·Δ?~!])  "
    used = set(re.findall(begins, screen, re.MULTILINE)) - ({"!"} if form == "table" else set())
    assert used <= set(re.findall(r"(?:: |; )([=≠≈·Δ?~!]) ", told))
    assert bool(told) == bool(used)
    for each in used:
        part = told[told.index("predicted: ") :] if "predicted: " in told else ""
        assert (f" {each} " in part) == (each in OF_VERDICT.values())


def test_the_page_draws_a_verdict_as_the_screen_does():
    page = render_html(diff(*blocks(2)))
    for verdict in Verdict:
        assert re.search(rf'aria-hidden="true">{re.escape(OF_VERDICT[verdict])}</span>\s*{verdict}<', page)
    assert "macros" not in page


def test_nothing_needs_no_legend():
    assert legend([]) == ""
