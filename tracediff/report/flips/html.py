"""A flip search as one HTML page that needs no network: the answer as tables first, the figures after them."""

from __future__ import annotations

from typing import Any

from tracediff.findings.flips import Flip, FlipsResult, Search, TopLogit, margin_unit
from tracediff.findings.flips_summary import summarise
from tracediff.report.flips.figures import figure_json, logit_changes, margin_histogram
from tracediff.report.flips.terminal import bin_name
from tracediff.report.flips.words import findings, flip_title, number, percent, setting_words, tie_words, token_words
from tracediff.report.page import environment, resource, script_hash
from tracediff.version import __version__

_SHOWN_FLIPS = 50
_DRAW = """
for (const [id, figure] of Object.entries(JSON.parse(document.getElementById("figures").textContent))) {
  Plotly.newPlot(id, figure.data, figure.layout, {displaylogo: false, responsive: true});
}
"""


def flips_to_html(result: FlipsResult) -> str:
    """Return the page, about 5 MB, most of it plotly.js. Without JavaScript the tables still show everything."""
    from markupsafe import Markup  # noqa: PLC0415

    templates = environment("tracediff.report.flips")
    templates.filters.update(number=number, percent=percent, bin_name=bin_name)
    flips = list(result.flips())
    plotly = (
        resource("plotly", "package_data/plotly.min.js").replace("</script", r"<\/script").replace("<!--", r"<\!--")
    )
    return templates.get_template("flips.html.j2").render(
        version=__version__,
        setting=setting_words(result),
        base=result.settings.batches[0],
        findings=findings(result),
        summaries=summarise(result),
        flips=[_flip(flip, result.settings.batches[0], search) for search, flip in flips[:_SHOWN_FLIPS]],
        hidden_flips=max(0, len(flips) - _SHOWN_FLIPS),
        figures={"margins": figure_json(margin_histogram(result)), "changes": figure_json(logit_changes(result))},
        style=Markup(resource("tracediff.report.diff.html", "assets/report.css")),
        plotly=Markup(plotly),
        draw=Markup(_DRAW),
        hashes=[script_hash(plotly), script_hash(_DRAW)],
    )


def _flip(flip: Flip, base: int, search: Search) -> dict[str, Any]:
    """Return what the page shows of one flip: the largest logits of both sides, row by row."""
    sides = []
    for batch, choice in ((base, flip.base), (flip.batch, flip.other)):
        top = choice.top[0].logit
        unit = margin_unit(search.format, top, choice.top[1].logit)
        rows = [_logit(logit, logit.token == choice.token, (top - logit.logit) / unit) for logit in choice.top]
        sides.append({"batch": batch, "tie": tie_words(choice), "rows": rows})
    return {
        "id": f"flip-{search.label}-{flip.prompt}-{flip.step}-{flip.batch}",
        "title": flip_title(flip, base, search.label),
        "sides": sides,
        "reference": flip.reference,
    }


def _logit(logit: TopLogit, chosen: bool, below_ulp: float) -> dict[str, Any]:
    return {
        "token": token_words(logit.token, logit.text),
        "logit": number(logit.logit),
        "below": number(below_ulp),
        "chosen": chosen,
        "tied": below_ulp == 0 and not chosen,
    }
