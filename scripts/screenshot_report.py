"""Take the pictures of the HTML report that the README shows: first screen and one module, light and dark, and a phone.

    python scripts/screenshot_report.py A.sqlite B.sqlite --out docs/images

Needs the `dev` extra and a Chromium on PATH; reaches no network.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tracediff.diff import diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.report.diff.html import render_html
from tracediff.trace import read_trace

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
LARGEST = 250_000


def main() -> None:
    """Render the report of two traces and photograph it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--find", default="split-K 3", help="open the first module that this finds")
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        sys.exit(f"no browser on PATH: none of {', '.join(CHROMIUM)}")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        diff = attach_evidence(diff_tables(read_trace(options.a), read_trace(options.b)))
        report = Path(folder) / "report.html"
        report.write_text(render_html(diff), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        for scheme in ("light", "dark"):
            _photograph(browser, report, options.out / f"report-{scheme}.png", scheme, (1280, 1120))
            _photograph(browser, report, options.out / f"report-module-{scheme}.png", scheme, (1280, 860), options.find)
        _photograph(browser, report, options.out / "report-phone.png", "light", (390, 844))
        browser.close()


def _photograph(
    browser: Browser, report: Path, picture: Path, scheme: str, size: tuple[int, int], find: str = ""
) -> None:
    """Save one picture of the report; with `find`, of the first module that matches, opened."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        offline=True,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(report.as_uri())
    if find:
        page.fill("#filter-text", find)
        page.locator("li.group:not([hidden]) summary").first.click()
        page.evaluate("scrollTo(0, document.getElementById('filter').offsetTop)")
        page.mouse.move(0, 0)
    page.screenshot(path=picture)
    context.close()
    written = picture.stat().st_size
    print(f"{picture}: {written:,} bytes")
    if written > LARGEST:
        sys.exit(f"{picture} is larger than {LARGEST:,} bytes")


if __name__ == "__main__":
    main()
