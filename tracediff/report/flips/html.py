"""A flip search as one HTML page that needs no network: the answer as tables first, the figures after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracediff.findings.flips import Flip, FlipsResult, Search
from tracediff.findings.flips_summary import margin_rows, ranked_flips, summarise
from tracediff.report.flips.figures import logit_changes, margin_histogram
from tracediff.report.flips.plots import figure_json
from tracediff.report.flips.top_logits import flip_view
from tracediff.report.flips.words import bin_name, findings, number, percent, setting_words, warnings
from tracediff.report.page import environment, resource, script_hash
from tracediff.version import __version__

if TYPE_CHECKING:
    from markupsafe import Markup

_PACKAGE = "tracediff.report.flips"
_SHOWN_FLIPS = 50
_DRAW = """
for (const [id, figure] of Object.entries(JSON.parse(document.getElementById("figures").textContent))) {
  Plotly.newPlot(id, figure.data, figure.layout, {displaylogo: false, responsive: true});
}
"""


def flips_to_html(result: FlipsResult) -> str:
    """Return the page, about 5 MB, most of it plotly.js. Without JavaScript the tables still show everything."""
    from markupsafe import Markup  # noqa: PLC0415

    templates = environment(_PACKAGE)
    templates.filters.update(number=number, percent=percent, bin_name=bin_name)
    flips = ranked_flips(result)
    summaries = summarise(result)
    plotly = (
        resource("plotly", "package_data/plotly.min.js").replace("</script", r"<\/script").replace("<!--", r"<\!--")
    )
    return templates.get_template("flips.html.j2").render(
        version=__version__,
        setting=setting_words(result),
        base=result.settings.batches[0],
        others=result.settings.batches[1:],
        warnings=warnings(result),
        findings=findings(result),
        summaries=summaries,
        margins=margin_rows(summaries),
        flips=[top_logits_html(flip, result.settings.batches[0], search) for search, flip in flips[:_SHOWN_FLIPS]],
        hidden_flips=max(0, len(flips) - _SHOWN_FLIPS),
        figures={"margins": figure_json(margin_histogram(result)), "changes": figure_json(logit_changes(result))},
        style=Markup(resource("tracediff.report.diff.html", "assets/report.css")),
        top_logits_style=top_logits_style(),
        plotly=Markup(plotly),
        draw=Markup(_DRAW),
        hashes=[script_hash(plotly), script_hash(_DRAW)],
    )


def top_logits_html(flip: Flip, base: int, search: Search) -> Markup:
    """Return one flip as HTML: the largest logits of both batch sizes as bars, the chosen token outlined.

    The page that holds it needs `top_logits_style`.
    """
    from markupsafe import Markup  # noqa: PLC0415

    template = environment(_PACKAGE).get_template("top_logits.html.j2")
    return Markup(template.render(flip=flip_view(flip, base, search)))


def top_logits_style() -> Markup:
    """Return the rules of `top_logits_html`; they use the colours of the reports' style sheet."""
    from markupsafe import Markup  # noqa: PLC0415

    return Markup(resource(_PACKAGE, "assets/top_logits.css"))
