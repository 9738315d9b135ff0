"""A capture of trained weights whose token flips: profiles/tokens/smollm2-capture, from one H100."""

import json
import re
import shutil

import pytest

from tests.golden import assert_golden, run
from tests.profiles import PROFILES
from tracediff.findings.captured_flips import flips_beside
from tracediff.findings.explain import Judgement, explain
from tracediff.findings.facts import gather

CAPTURE = PROFILES / "tokens" / "smollm2-capture"
TRACES = (CAPTURE / "b1.sqlite", CAPTURE / "b2.sqlite")


def test_the_one_origin_is_a_norm_whose_repair_makes_the_logits_equal():
    explanation = explain(gather(CAPTURE))
    assert explanation.judgement is Judgement.EXPECTED
    because = {each.text: each.because for each in explanation.questions}
    found = because["Was the first module that differs on equal inputs found?"]
    assert found == "model.layers.23.post_attention_layernorm in prefill"
    order = because["Is it the order of summation that changed there?"]
    assert "at 1 of 1 origin" in order
    assert "make the logits bit-identical" in order
    assert because["Is every flipped token a near tie?"].startswith("the flip's margin is no larger")


def test_the_flip_turns_a_near_tie_into_an_exact_one():
    ((_, flip),) = flips_beside(*TRACES).flips()
    assert (flip.base.tied, flip.other.tied) == (1, 3)
    assert [each.text for each in flip.other.top[:3]] == ["#", "def", "```"]
    assert len({each.logit for each in flip.other.top[:3]}) == 1
    assert flip.other.token == min(each.token for each in flip.other.top[:3])
    assert flip.margin == sum(flip.moved) == 0.125


@pytest.mark.parametrize("columns", [80, 120])
def test_the_screen_of_the_diff(columns):
    screen = run("diff", *TRACES, columns=columns)
    assert_golden(screen, f"diff/smollm2-capture-{columns}.txt")


def test_the_page_shows_the_largest_logits_of_both_sides_and_outlines_what_was_chosen(tmp_path):
    run("diff", *TRACES, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    article = re.search(r'<article class="flip".*?</article>', page, re.DOTALL).group()
    assert article.count("<table") == 2
    assert article.count("<tr") == 2 * (1 + 8)
    chosen = re.findall(r'<tr class="chosen"><td class="token">(.*?)</td>.*?>(30\.25)<', article)
    assert chosen == [("3725 &#39;```&#39; (chosen)", "30.25"), ("19 &#39;#&#39; (chosen)", "30.25")]
    assert "exact 3-way tie" in article


def test_flips_that_are_not_of_the_traces_run_are_not_shown(tmp_path):
    """Another model's flips beside the traces; or the right ones where there is no evidence of these traces."""
    for name in ("b1.sqlite", "b2.sqlite", "manifest.json", "evidence.json"):
        (tmp_path / name).symlink_to(CAPTURE / name)
    flips = json.loads((CAPTURE / "captured_flips.json").read_text())

    def shown():
        page = tmp_path / "page.html"
        run("diff", tmp_path / "b1.sqlite", tmp_path / "b2.sqlite", "--html", page, "--force")
        return 'class="flip"' in page.read_text(encoding="utf-8")

    def put(**settings):
        (tmp_path / "captured_flips.json").write_text(
            json.dumps({**flips, "settings": {**flips["settings"], **settings}})
        )

    put()
    assert shown()
    put(model="another")
    assert not shown()
    put()
    (tmp_path / "evidence.json").unlink()
    assert not shown()


def test_explain_draws_the_growth_and_the_largest_logits_of_every_result_in_the_directory(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "tracediff.report.flips.plots.write_images", lambda figures, _directory, force: drawn.append(figures) or ()
    )
    run("explain", CAPTURE, "--figures", tmp_path / "figures")
    for name in ("evidence.json", "captured_flips.json"):
        shutil.copy(CAPTURE / name, tmp_path)
    shutil.copy(CAPTURE / "captured_flips.json", tmp_path / "flips.json")
    run("explain", tmp_path, "--figures", tmp_path / "figures")
    one, two = drawn
    assert set(one) == {"growth_b2", "top_logits_bfloat16_p0_s0_b2"}
    assert set(two) == {
        "growth_b2",
        "captured_flips_top_logits_bfloat16_p0_s0_b2",
        "flips_top_logits_bfloat16_p0_s0_b2",
    }
    colours = [list(trace.marker.color) for trace in one["top_logits_bfloat16_p0_s0_b2"].data]
    assert len(colours) == 2
    assert all(first not in others for first, *others in colours)
