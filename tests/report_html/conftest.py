"""Real pairs, and a headless Chromium that cannot reach a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tracediff.diff import diff_tables
from tracediff.diff.result import Pair, Row, TraceDiff, Verdict
from tracediff.report.html import render_html
from tracediff.trace import read_trace

TRACES = Path(__file__).parents[1] / "trace" / "data"
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
    """Two blocks of Llama-3-8B, fp16, batch 1 and 2, recorded on an H200."""
    return diff_tables(*(read_trace(TRACES / f"llama-two-blocks-b{batch}.sqlite") for batch in (1, 2)))


@pytest.fixture(scope="session")
def full_diff(real_diff: TraceDiff) -> TraceDiff:
    """A whole model's size: block 1 stands for blocks 1 to 31, two decode steps run a's kernels, all have evidence."""
    evidence = {
        "isolated": {"equal": False, "share": 0.374, "max_ulp": 2},
        "propagated": {"equal": False, "share": 0.981, "max_ulp": 31},
        "state": "origin",
    }
    prefill = [
        replace(row, layer=layer, module=row.module.replace("layers.1", f"layers.{layer}"), evidence=evidence)
        for row in real_diff.rows
        for layer in (range(1, 32) if row.layer == 1 else [row.layer])
    ]
    decode = [replace(_unchanged(row), phase=f"decode[{step}]") for step in (0, 1) for row in prefill]
    return replace(real_diff, rows=(*prefill, *decode))


def _unchanged(row: Row) -> Row:
    pairs = tuple(Pair(a=kernel, b=kernel, verdict=Verdict.SAME_KERNELS, reason="") for kernel in row.a)
    return replace(row, b=row.a, pairs=pairs, verdict=Verdict.SAME_KERNELS, reason="")


@pytest.fixture(scope="session")
def real_page(full_diff: TraceDiff) -> str:
    return render_html(replace(full_diff, rows=tuple(replace(row, evidence=None) for row in full_diff.rows)))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skipped without one, except in CI, where that is a failure."""
    missing = pytest.fail if os.environ.get("CI") else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed: pip install 'nsys-tracediff[dev]'")
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
