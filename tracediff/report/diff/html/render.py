"""The page: templates, style and script in one file that needs no network."""

from __future__ import annotations

import re
from functools import cache

from jinja2 import Environment
from markupsafe import Markup

from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.result import TraceDiff
from tracediff.findings.flips import FlipsResult
from tracediff.report.diff.html.build import build_report
from tracediff.report.diff.html.payload import payload
from tracediff.report.diff.html.view import PageView
from tracediff.report.diff.signs import OF_VERDICT
from tracediff.report.flips.html import top_logits_html, top_logits_style
from tracediff.report.page import environment as page_environment
from tracediff.report.page import resource, script_hash
from tracediff.report.words import duration

_PACKAGE = "tracediff.report.diff.html"
_SCRIPTS = ("state.js", "filter.js", "heatmap.js", "save.js", "page.js")


def render_html(diff: TraceDiff, flips: FlipsResult | None = None, modules: ChosenModules | None = None) -> str:
    """Return the report of `diff` as one HTML page.

    The page is complete without its script: the result, the heatmaps and every module are there as HTML.

    Args:
        diff: What to show.
        flips: The tokens that flipped in the captured run of both traces (`flips_beside`).
        modules: List only these; the answer is of all.
    """
    return render_report(build_report(diff, modules), () if flips is None else _flips(diff, flips))


def _flips(diff: TraceDiff, result: FlipsResult) -> tuple[Markup, ...]:
    """Return the flips between the two batch sizes of a diff, each with its largest logits."""
    return tuple(
        top_logits_html(flip, result.settings.batches[0], search)
        for search, flip in result.flips()
        if {result.settings.batches[0], flip.batch} == {diff.a.info.batch, diff.b.info.batch}
    )


def render_report(report: PageView, flips: tuple[Markup, ...] = ()) -> str:
    """Return the page that shows `report`, and the captured run's flips."""
    theme, script = unindented(asset("theme.js")), unindented("".join(map(asset, _SCRIPTS)))
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            payload=payload(report),
            flips=flips,
            style=Markup(asset("report.css")) + (top_logits_style() if flips else ""),
            theme_script=Markup(theme),
            script=Markup(script),
            script_hashes=[script_hash(theme), script_hash(script)],
        )
    )
    # The templates' indentation is a fifth of the page; no text of the page begins a line.
    return unindented(page)


@cache
def environment() -> Environment:
    """Return the templates' environment: everything from a trace is escaped."""
    made = page_environment(_PACKAGE)
    made.filters.update(count="{:,}".format, duration=duration)
    made.globals["signs"] = {str(verdict): sign for verdict, sign in OF_VERDICT.items()}
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return made


@cache
def asset(name: str) -> str:
    """Return a style sheet or script of the page."""
    return resource(_PACKAGE, f"assets/{name}")


def unindented(text: str) -> str:
    """Return text with its lines flush left."""
    return re.sub(r"\n +", "\n", text)
