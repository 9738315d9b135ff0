"""Figures and the page of a flip search."""

import re
import shutil
import sys

import pytest

from tests.measure.planted import planted_result
from tracediff.errors import TracediffError
from tracediff.measured import Bits, Evidence, ModuleBits, PairEvidence
from tracediff.report.flips.figures import _log_ticks, flip_figures
from tracediff.report.flips.growth import growth_figures, module_changes
from tracediff.report.flips.html import flips_to_html
from tracediff.report.flips.plots import write_images

EQUAL = Bits(equal=True)


def differ(share, max_ulp):
    return Bits(equal=False, share=share, max_ulp=max_ulp)


def evidence(modules):
    pair = PairEvidence(
        batches=(1, 2),
        logits={},
        tokens={},
        modules={"prefill": {name: ModuleBits(isolated=a, propagated=b) for name, (a, b) in modules.items()}},
        first_origin=None,
        repair=None,
    )
    return Evidence(
        model="m",
        dtype="float16",
        tokens=6,
        batches=(1, 2),
        phases=("prefill",),
        pairs=(pair,),
        notes=(),
        controls={},
    )


EVIDENCE = evidence(
    {
        "": (EQUAL, None),
        "model.embed_tokens": (EQUAL, EQUAL),
        "model.layers.0": (EQUAL, differ(0.5, 7)),
        "model.layers.0.q_proj": (differ(0.25, 2), differ(0.25, 2)),
        "model.layers.0.mlp": (EQUAL, differ(0.5, 8)),
        "model.layers.1.q_proj": (EQUAL, EQUAL),
        "lm_head": (EQUAL, differ(0.75, None)),
    }
)


@pytest.fixture
def result():
    pytest.importorskip("torch")
    return planted_result()


@pytest.mark.torch
def test_the_margin_figure_counts_every_step_and_every_flip(result):
    figure = flip_figures(result)["margins"]
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [sum(bar.y) for bar in bars] == [8 * 13, 8 * 13]
    marked = sum(sum(trace.y) for trace in figure.data if trace.type == "scatter")
    assert marked == len(list(result.flips()))


@pytest.mark.torch
def test_the_chosen_token_is_outlined_and_a_tie_is_named(result):
    figures = {stem: figure for stem, figure in flip_figures(result).items() if stem.startswith("top_logits")}
    assert len(figures) == 2
    for figure in figures.values():
        for bar in figure.data:
            assert list(bar.marker.line.width) == [3, *[1] * 7]
        # The flip with the smallest margin is drawn, and the planted model has exact ties.
        assert "exact" in figure.layout.title.text
        assert any("way tie" in note.text for note in figure.layout.annotations)


@pytest.mark.torch
def test_the_change_figure_has_a_line_per_batch_size_and_a_mark_per_flip(result):
    figure = flip_figures(result)["logit_changes"]
    assert sum(len(trace.x) for trace in figure.data if trace.name == "flip") == len(list(result.flips()))
    assert len([trace for trace in figure.data if trace.name == "batch 1 → 8"]) == 2


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.03, 0.05, 0.0], [0.03, 0.04, 0.05]),
        ([0.012, 0.1], [0.02, 0.05, 0.1]),
        ([1e-5, 1.0], [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        ([0.0], []),
    ],
)
def test_a_logarithmic_axis_has_several_round_ticks_whatever_it_spans(values, ticks):
    found = _log_ticks(values)
    assert [tick for tick in found if min(values, key=lambda v: v or 9) <= tick <= max(values)] == ticks


def test_growth_begins_at_the_first_origin_and_leaves_containers_out():
    changes = module_changes(EVIDENCE.pairs[0].modules["prefill"])
    assert [change.module for change in changes] == [
        "model.layers.0.q_proj",
        "model.layers.0.mlp",
        "model.layers.1.q_proj",
        "lm_head",
    ]
    assert [change.is_origin for change in changes] == [True, False, False, False]


def test_growth_is_drawn_for_each_pair_that_differs():
    figures = growth_figures(EVIDENCE)
    assert list(figures) == ["growth_b2"]
    ulps, origins, *_ = figures["growth_b2"].data
    assert list(ulps.y) == [2, 8, None, None]
    assert list(origins.y) == [2]
    assert growth_figures(evidence({"lm_head": (EQUAL, EQUAL)})) == {}


def test_figures_are_never_written_over_others_unasked(tmp_path):
    (tmp_path / "growth_b2.svg").write_text("mine")
    with pytest.raises(TracediffError, match="exists"):
        write_images(growth_figures(EVIDENCE), tmp_path, formats=("svg",))
    assert (tmp_path / "growth_b2.svg").read_text() == "mine"


def test_without_kaleido_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(TracediffError, match=r"pip install '\.\[figures\]'"):
        write_images(growth_figures(EVIDENCE), tmp_path)


def test_without_a_browser_the_error_says_what_to_install(tmp_path, monkeypatch):
    kaleido = pytest.importorskip("kaleido")

    def fail(*_arguments, **_options):
        raise RuntimeError("ChromeNotFoundError")

    monkeypatch.setattr(kaleido, "calc_fig_sync", fail)
    with pytest.raises(TracediffError, match="install Chrome or Chromium"):
        write_images(growth_figures(EVIDENCE), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
def test_svg_and_png_are_drawn_by_the_browser_on_path(tmp_path):
    pytest.importorskip("kaleido")
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no Chromium on PATH")
    svg, png = write_images(growth_figures(EVIDENCE), tmp_path / "new")
    assert "<svg" in svg.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.torch
def test_the_page_needs_no_network_and_shows_each_flip_without_a_script(result):
    page = flips_to_html(result)
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in re.sub(r"http-equiv", "", outside_scripts)
    flips = list(result.flips())
    assert outside_scripts.count("<article") == min(50, len(flips))
    for search, flip in flips[:50]:
        assert f'id="flip-{search.label}-{flip.prompt}-{flip.step}-{flip.batch}"' in outside_scripts
    assert outside_scripts.count("(chosen)") == 2 * min(50, len(flips))
    assert "way tie: the lowest id is taken" in outside_scripts


@pytest.mark.torch
def test_a_token_s_text_cannot_become_markup(result):
    from tests.changed import replace
    from tracediff.findings.flips import TopLogit

    search = result.searches[0]
    prompt = next(prompt for prompt in search.prompts if prompt.flips)
    flip = prompt.flips[0]
    hostile = TopLogit(token=flip.base.token, logit=flip.base.top[0].logit, text="</script><b>\x1b[31m")
    base = replace(flip.base, top=(hostile, *flip.base.top[1:]))
    prompts = (replace(prompt, flips=(replace(flip, base=base),)),)
    page = flips_to_html(replace(result, searches=(replace(search, prompts=prompts), *result.searches[1:])))
    assert "<b>" not in page.partition("<main>")[2].partition("<script")[0]
    assert "\x1b" not in page


@pytest.mark.browser
@pytest.mark.torch
def test_the_page_draws_its_figures_in_a_browser_without_an_error(result, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on PATH")
    path = tmp_path / "flips.html"
    path.write_text(flips_to_html(result), encoding="utf-8")
    errors = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        page = browser.new_context(offline=True).new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        page.wait_for_selector("#margins .plot-container")
        page.wait_for_selector("#changes .plot-container")
        browser.close()
    assert errors == []
