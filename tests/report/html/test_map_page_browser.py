"""The page of a map in a headless Chromium that is offline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.findings.maps import batch_map, forward, module
from tracediff.findings.maps import read_map
from tracediff.report.map.html import map_to_html

pytestmark = pytest.mark.browser
Open = Callable[..., Any]
MAP = Path(__file__).parents[3] / "profiles" / "maps" / "llama-3-8b-bfloat16-h100.json"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


@pytest.fixture(scope="module")
def page_text() -> str:
    return map_to_html(read_map(MAP), buckets=(1, 2, 4, 8))


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.getAttribute('aria-label')")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_needs_sideways_scrolling_and_text_has_contrast(
    opened: Open, page_text: str, width: int, scheme: str
) -> None:
    page = opened(page_text, width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate((Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")) == []


def test_the_strips_are_one_stop_for_tab_and_arrows_walk_them(opened: Open, page_text: str) -> None:
    page = opened(page_text)
    page.keyboard.press("Tab")
    assert focused(page).startswith("forward, 300 keys, 1–4 rows: vary from run to run")
    page.keyboard.press("ArrowRight")
    assert focused(page).startswith("forward, 300 keys, 5–6 rows: class a")
    page.keyboard.press("End")
    assert focused(page).startswith("forward, 300 keys, 256 rows: class g")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert focused(page).startswith("q_proj, 1–16 rows: class a; nvjet GEMM, split-K")
    assert page.inner_text(".readout") == focused(page)
    page.keyboard.press("ArrowUp")
    assert focused(page).startswith("forward, 2000 keys")


def test_what_is_pointed_at_is_read_out(opened: Open, page_text: str) -> None:
    page = opened(page_text)
    page.hover("[aria-label^='down_proj, 121–128 rows']")
    assert page.inner_text(".readout").startswith("down_proj, 121–128 rows: class b")


def test_names_from_a_file_run_nothing(opened: Open) -> None:
    found = batch_map(forward("ab"), module("ab", name=HOSTILE, orders=[HOSTILE, HOSTILE]), model=HOSTILE)
    page = opened(map_to_html(found))
    assert HOSTILE in page.inner_text("h1 + p")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_accessibility_violation(opened: Open, page_text: str, scheme: str) -> None:
    results = Axe().run(opened(page_text, color_scheme=scheme))
    assert results.response["violations"] == []
