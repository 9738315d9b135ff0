"""A map as one HTML page that needs no network: strips first, every class in words below them."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.findings.maps import BatchMap
from tracediff.findings.maps_classes import prediction_table
from tracediff.report.map.strips import strip_of, ticks
from tracediff.report.map.words import break_sentences, padding_sentences, what_ran
from tracediff.report.measured_on import versions
from tracediff.report.page import environment, resource, script_hash
from tracediff.version import __version__

_BREAKS = 12


def map_to_html(found: BatchMap, wanted: Sequence[int] | None = None, buckets: Sequence[int] | None = None) -> str:
    """Return the page. Without JavaScript the strips show their classes and the table says them in words."""
    from markupsafe import Markup  # noqa: PLC0415

    largest = max((count.rows for module in found.modules for count in module.counts), default=1)
    script = resource("tracediff.report.map", "assets/strips.js")
    left_out = [f"{module.label}: {each}" for module in found.modules for each in module.left_out]
    return (
        environment("tracediff.report.map")
        .get_template("map.html.j2")
        .render(
            version=__version__,
            title=what_ran(found),
            versions=versions(found.machine),
            strips=[strip_of(module, largest, module in found.forwards) for module in found.modules],
            ticks=ticks(largest),
            padding=padding_sentences(found, wanted, buckets),
            breaks=break_sentences(found, _BREAKS),
            predictions=prediction_table(found),
            notes=[*found.notes, *left_out],
            style=Markup(resource("tracediff.report.diff.html", "assets/report.css")),
            strip_style=Markup(resource("tracediff.report.map", "assets/strips.css")),
            script=Markup(script),
            hashes=[script_hash(script)],
        )
    )
