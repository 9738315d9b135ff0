"""Real pairs, and a headless Chromium that cannot reach a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.changed import replace
from tracediff.diff import diff_tables
from tracediff.diff.result import TraceDiff
from tracediff.measured import Bits, ModuleBits
from tracediff.report.diff.html import render_html
from tracediff.trace import read_trace

PROFILES = Path(__file__).parents[3] / "profiles"
LOCAL = ("file:", "data:", "blob:")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def real_diff() -> TraceDiff:
    """Llama-3-8B, fp16, 32 blocks, prefill and 2 decode steps, batch 1 and 2, recorded on an H200."""
    return diff_tables(*(read_trace(PROFILES / "llama-3-8b-float16" / f"b{batch}.sqlite") for batch in (1, 2)))


@pytest.fixture(scope="session")
def full_diff(real_diff: TraceDiff) -> TraceDiff:
    """The same with evidence for every module, as much of it as there can be."""
    evidence = ModuleBits(
        isolated=Bits(equal=False, share=0.374, max_ulp=2), propagated=Bits(equal=False, share=0.981, max_ulp=31)
    )
    return replace(real_diff, rows=tuple(replace(row, evidence=evidence) for row in real_diff.rows))


@pytest.fixture(scope="session")
def real_page(real_diff: TraceDiff) -> str:
    return render_html(real_diff)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skipped without one, except in CI, where that is a failure."""
    missing = pytest.fail if os.environ.get("CI") else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed: pip install '.[dev]'")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        missing(f"no browser on PATH: none of {', '.join(CHROMIUM)}")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens a page's text in an offline context; whatever the page complains about fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(text: str, fragment: str = "", width: int = 1280, **options: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 800}, offline=True, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: complaints.extend([request.url] * (not request.url.startswith(LOCAL))))
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
