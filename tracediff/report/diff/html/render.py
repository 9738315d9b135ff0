"""The page: templates, style, script and plotly's script in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import pkgutil
import zlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tracediff.diff.result import TraceDiff
from tracediff.report.diff.html.build import build_report
from tracediff.report.diff.html.payload import payload
from tracediff.report.diff.html.view import Report
from tracediff.report.words import duration

_SCRIPTS = ("state.js", "filter.js", "heatmap.js", "figure.js", "page.js")


def render_html(diff: TraceDiff) -> str:
    """Return the report of `diff` as one HTML page, most of it plotly.js (2 MB, compressed).

    The page is complete without its script: the result, the heatmaps and every module are there as HTML.
    """
    return render_report(build_report(diff))


def render_report(report: Report) -> str:
    """Return the page that shows `report`."""
    theme, script, plotly = _asset("theme.js"), "".join(map(_asset, _SCRIPTS)), _plotly()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            payload=payload(report),
            style=Markup(_asset("report.css")),
            theme_script=Markup(theme),
            script=Markup(script),
            plotly=Markup(_compressed(plotly)),
            script_hashes=[_hash(theme.encode()), _hash(script.encode()), _hash(plotly)],
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tracediff.report.diff.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count="{:,}".format, duration=duration)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment


@cache
def _asset(name: str) -> str:
    data = pkgutil.get_data("tracediff.report.diff.html", f"assets/{name}")
    assert data is not None, name
    return data.decode("utf-8")


@cache
def _plotly() -> bytes:
    """Return plotly.js of the installed plotly, read as a file: nothing of plotly's Python is needed."""
    data = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    assert data is not None
    return data


@cache
def _compressed(script: bytes) -> str:
    """Return a script for the page to inflate when needed: 4.8 MB become 2 MB, and nothing in it ends the element."""
    return base64.b64encode(zlib.compress(script, 6)).decode("ascii")


def _hash(script: bytes) -> str:
    """Return the hash by which the page's content security policy admits an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script).digest()).decode("ascii")
