"""The page in a headless Chromium that is offline: `opened` fails a test on any error, dialog or request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tracediff.diff.result import TraceDiff
from tracediff.report.diff.html import render_html

from .hostile import hostile_diff
from .samples import diff

pytestmark = pytest.mark.browser
Open = Callable[..., Any]


def visible_lines(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "li.group", "lines => lines.filter(l => l.checkVisibility()).map(l => l.querySelector('.where b').textContent)"
    )


def totals(page: Any) -> str:
    return page.inner_text("#filter-totals")


def hash_of(page: Any) -> str:
    return page.evaluate("decodeURIComponent(location.hash)")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_needs_sideways_scrolling(opened: Open, real_page: str, width: int, scheme: str) -> None:
    page = opened(real_page, width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_filter_hides_lines_and_its_totals_follow(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    assert totals(page).startswith("All 1,2")
    page.fill("#filter-text", "Split-K 3 → 2")
    assert visible_lines(page) == ["self_attn.q_proj", "self_attn.o_proj"]
    assert "64 of " in totals(page) and "kernels 128 → 128, split-K reductions 64 → 64" in totals(page)
    assert hash_of(page).startswith("#q=Split-K")


def test_free_text_finds_one_layer_and_counts_it(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    page.fill("#filter-text", "layers.7.mlp.down_proj")
    page.select_option("#filter-phase", "prefill")
    assert visible_lines(page) == ["mlp.down_proj"]
    assert "1 of 32, layers 0–31" in page.inner_text("li.group:not([hidden]) summary")
    assert totals(page).startswith("1 of ")


def test_the_heading_of_a_phase_counts_what_the_filter_admits(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    size = page.locator("details.phase[data-phase=prefill] > summary .size")
    whole = size.inner_text()
    assert whole.startswith("421 modules in ")
    page.fill("#filter-text", "layers.7.mlp.down_proj")
    page.wait_for_function("document.querySelector('details.phase .size').textContent == '1 of 421 modules in 1 line'")
    page.click("#filter [type=reset]")
    page.wait_for_function("!document.querySelector('details.phase .size').textContent.includes(' of ')")
    assert size.inner_text() == whole


@pytest.mark.parametrize("width", [360, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_number_of_the_totals_is_on_the_screen(
    opened: Open, full_diff: TraceDiff, width: int, scheme: str
) -> None:
    page = opened(render_html(full_diff), width=width, color_scheme=scheme)
    cells = page.locator("table.totals td").evaluate_all(
        "cells => cells.map(cell => [cell.dataset.label, cell.innerText.trim(), cell.getBoundingClientRect().right])"
    )
    assert {label for label, *_ in cells} >= {"Modules", "Kernels", "GPU time", "Δ order-changed", "· same-kernels"}
    assert all((text or label == "Change") and right <= width for label, text, right in cells)
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('#result .scroll'))")


def test_a_sign_means_one_thing_on_the_whole_page(opened: Open, full_diff: TraceDiff, real_page: str) -> None:
    for text in (real_page, render_html(full_diff)):
        page = opened(text)
        legend = dict(line.split(" ", 1) for line in page.locator("#map .legend li").all_inner_texts())
        verdicts = dict(label.split() for label in page.locator("table.totals th.n:has(.glyph)").all_inner_texts())
        assert set(verdicts) == {"·", "≈", "?", "Δ"}
        assert all("measured" not in meaning for sign, meaning in legend.items() if sign in verdicts)
        measured = [meaning for sign, meaning in legend.items() if sign not in verdicts]
        assert all("measured" in meaning or "vary" in meaning for meaning in measured)


def test_a_map_of_32_layers_fits_1024_pixels(opened: Open, real_page: str) -> None:
    page = opened(real_page, width=1024)
    assert page.evaluate(
        "[...document.querySelectorAll('#map .scroll')].every(map => map.scrollWidth <= map.clientWidth)"
    )


def test_the_map_shows_what_was_measured_before_what_was_predicted(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    signs = page.locator(".heat a.cell").evaluate_all(
        "cells => cells.map(cell => [cell.textContent.trim(), cell.getAttribute('aria-label')])"
    )
    for sign, label in signs:
        if "bits on equal inputs: equal" in label:
            assert sign == "="
        elif "bits on equal inputs" in label:
            assert sign == "≠"
    assert {sign for sign, _ in signs} <= {"=", "≠", "≈", "·", "Δ", "?"}


def test_filters_combine_and_stand_in_the_address(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    page.select_option("#filter-phase", "prefill")
    page.select_option("#filter-kind", "self_attn")
    page.check("#filter-changed")
    page.uncheck("[name=verdict][value=same-kernels]")
    assert visible_lines(page) == ["self_attn"]
    address = page.url
    again = opened(real_page, fragment=address[address.index("#") :])
    assert visible_lines(again) == ["self_attn"]
    assert again.is_checked("#filter-changed")
    assert not again.is_checked("[name=verdict][value=same-kernels]")


def test_choosing_a_folded_phase_opens_it(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    page.select_option("#filter-phase", "decode[1]")
    assert "self_attn.q_proj" in visible_lines(page)


def test_a_filter_without_match_says_so_and_can_be_cleared(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    before = visible_lines(page)
    page.fill("#filter-text", "no such kernel")
    assert visible_lines(page) == []
    assert page.is_visible("text=Nothing matches this filter")
    page.click("#nothing-clear")
    assert visible_lines(page) == before
    assert page.url.endswith("report.html")


def test_a_link_to_a_layer_opens_its_module_and_marks_its_row(opened: Open, real_page: str) -> None:
    page = opened(real_page, fragment="#m:prefill:model.layers.5.self_attn.q_proj")
    row = page.locator("[id='m:prefill:model.layers.5.self_attn.q_proj']")
    assert row.is_visible()
    assert "at" in row.get_attribute("class").split()
    page.wait_for_function(
        "scrollY > 0 && document.activeElement.closest('li.group')?.getBoundingClientRect().top >= 0"
        " && document.activeElement.closest('li.group').getBoundingClientRect().top < innerHeight / 2"
    )


def test_a_link_to_a_folded_phase_opens_it(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    assert not page.locator("[id='phase:decode-1'] .groups").is_visible()
    page.locator("table.totals a", has_text="decode[1]").click()
    assert page.locator("[id='phase:decode-1'] .groups").is_visible()


@pytest.mark.parametrize("fragment", ["#%E0%A4%A", "#m:no:such", "#phase=none&verdict=&module=x&at=%", "#="])
def test_an_address_that_leads_nowhere_breaks_nothing(opened: Open, real_page: str, fragment: str) -> None:
    page = opened(real_page, fragment=fragment)
    page.keyboard.press("/")
    page.click("#filter [type=reset]")
    assert totals(page).startswith("All ")


def test_a_full_kernel_name_can_be_copied_or_is_selected(opened: Open, real_page: str) -> None:
    page = opened(real_page, fragment="#m:prefill:model.layers.0.self_attn.q_proj")
    name = page.locator(".name", has=page.locator("details.full:visible")).first
    name.locator(".copy").click()
    page.wait_for_function("[...document.querySelectorAll('.copy')].some(b => /Copied|Selected/.test(b.textContent))")
    if name.locator(".copy").inner_text() == "Selected":
        full = name.locator(".full-name")
        assert full.is_visible()
        assert page.evaluate("getSelection().toString()") == full.inner_text()


def test_the_map_is_walked_with_arrow_keys_and_opens_modules(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    page.focus(".heat a.cell[tabindex='0']")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("layer 2 self_attn.q_proj; order-changed, split-K 3 → 2")
    assert page.inner_text(".readout") == label
    assert page.locator(".heat a.cell[tabindex='0']").count() == page.locator(".heat").count()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("layer 31 self_attn.q_proj")
    page.keyboard.press("Enter")
    assert page.locator("[id='m:prefill:model.layers.31.self_attn.q_proj']").is_visible()
    assert hash_of(page) == "#m:prefill:model.layers.31.self_attn.q_proj"


def test_keys_reach_filter_and_help(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter-text"
    page.keyboard.type("what?/")
    assert page.input_value("#filter-text") == "what?/"
    page.keyboard.press("Escape")
    assert page.input_value("#filter-text") == ""
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


def test_a_module_opens_by_keyboard_and_shows_both_kernels(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    line = page.locator("li.group", has_text="self_attn.q_proj").first
    line.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert (
        line.locator(".name.side-a .full-name").first.inner_text() == "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT"
    )
    changed = line.locator(".fields").first.locator("tr.changed").all_inner_texts()
    assert "split-K factor\t3 (logged)\t2 (logged)\t" in [text.rstrip("\n") for text in changed]


def test_every_control_can_be_reached_and_shows_its_focus(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    for _ in range(40):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const e = document.activeElement; const s = getComputedStyle(e.matches('.toggle input') ?"
            " e.nextElementSibling : e); return [e.outerHTML.slice(0, 80), s.outlineStyle, s.outlineWidth]; })()"
        )
        assert outline[1] != "none" and outline[2] != "0px", outline[0]


def test_colours_follow_the_system_until_chosen(opened: Open, real_page: str) -> None:
    page = opened(real_page, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.click("#theme")
    light = page.evaluate(background)
    assert light != dark
    assert page.get_attribute("#theme", "aria-label") == "Colours: light"
    page.reload()
    assert page.evaluate(background) == light
    page.click("#theme")
    assert page.evaluate(background) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_colours(opened: Open, full_diff: TraceDiff, scheme: str) -> None:
    page = opened(render_html(full_diff), color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert page.evaluate((Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")) == []


def test_the_figure_shows_what_changed_first_and_needs_no_script(opened: Open, real_page: str) -> None:
    page = opened(real_page, java_script_enabled=False)
    rows = page.locator("#figures table.bars").first.locator("tbody tr")
    assert [rows.nth(place).locator("th").inner_text() for place in (0, 1)] == ["o_proj ×32", "q_proj ×32"]
    assert rows.nth(0).locator("mark").inner_text() == "3 → 2"
    widths = "[...document.querySelectorAll('.bars .bar')].map(bar => bar.getBoundingClientRect().width)"
    page = opened(real_page, fragment="#figures")
    drawn = page.evaluate(widths)
    assert max(drawn) > 100 and min(drawn) >= 1


def test_a_click_in_the_map_can_be_undone_with_back(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    first, second = (page.locator(".heat a.cell").nth(place) for place in (0, 40))
    first.click()
    second.click()
    assert page.url.endswith(second.get_attribute("href").lstrip("#")) or "%" in page.url
    page.go_back()
    assert page.evaluate("decodeURIComponent(location.hash)") == first.get_attribute("href")
    assert first.get_attribute("title") == first.get_attribute("aria-label")


def test_the_result_can_be_taken_away_as_markdown_and_the_map_as_svg(opened: Open, real_page: str) -> None:
    page = opened(real_page)
    markdown = page.evaluate("document.getElementById('markdown').content.textContent")
    assert markdown.startswith("## tracediff: EXPECTED")
    with page.expect_download() as saved:
        page.click("#save-map")
    svg = saved.value.path().read_text()
    assert svg.startswith("<svg ") and svg.count("<rect ") > 1000
    assert "<title>layer 0 " in svg


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened: Open, full_diff: TraceDiff, width: int, scheme: str) -> None:
    page = opened(render_html(full_diff), width=width, color_scheme=scheme)
    page.locator("li.group summary").first.click()
    found = Axe().run(page)
    told = [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in found.response["violations"]]
    assert told == []


def test_without_its_script_the_page_still_answers(opened: Open, real_page: str) -> None:
    page = opened(real_page, java_script_enabled=False)
    assert "bits can differ" in page.inner_text("h1")
    assert page.is_visible(".heat a.cell")
    line = page.locator("li.group", has_text="self_attn.q_proj").first
    line.locator("summary").first.click()
    assert line.locator(".names .full-name").first.is_visible()
    assert not page.is_visible("#filter")
    assert page.is_visible("table.bars")


def test_on_paper_the_controls_are_gone_the_map_stays_and_dark_is_light(opened: Open, real_page: str) -> None:
    page = opened(real_page, width=720, color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.is_visible("#filter") and not page.is_visible(".tools")
    assert page.is_visible(".heat a.cell")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.querySelector('table.totals').getBoundingClientRect().right") <= 720


@pytest.mark.parametrize("width", [360, 1280])
def test_a_hostile_trace_runs_nothing_and_fits(opened: Open, width: int) -> None:
    page = opened(render_html(hostile_diff()), width=width)
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    page.locator("#figures").scroll_into_view_if_needed()
    page.fill("#filter-text", "<script>alert(1)")
    assert visible_lines(page)
    page.hover("li.group:not([hidden]) summary")
    assert page.locator("img, base, iframe, body script[src]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_without_rows_works(opened: Open) -> None:
    page = opened(render_html(diff()))
    assert page.inner_text("h1") == "Cannot tell (from the traces alone): neither trace holds a kernel to compare"
    page.click("#help-open")
    assert page.is_visible("#help")
