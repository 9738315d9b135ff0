"""Several maps as one picture: the strips of each, for pages that show images alone."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from tracediff.findings.maps import BatchMap
from tracediff.report.map.strips import strip_of, ticks
from tracediff.report.map.words import what_ran

_WIDTH, _LEFT, _RIGHT = 960, 190, 120
_ROW, _GAP, _TITLE = 20, 4, 30
_COLOURS = (
    "#8ecae6", "#f4a259", "#b7d98b", "#d8a7ca", "#f2cf63", "#9aa5e0", "#e98a80", "#74c7b8", "#cbb593", "#b9bec7",
    "#e7b3b3", "#a8d5e2",
)  # fmt: skip
_VARYING = "#c43d00"
_NARROWEST_LETTER = 9


def maps_to_svg(maps: Sequence[BatchMap], only_forwards: bool = False) -> str:
    """Return the picture.

    Args:
        maps: What is drawn, from top to bottom.
        only_forwards: Leave the modules out.
    """
    drawn = [(found, found.forwards if only_forwards else found.modules) for found in maps]
    largest = max(count.rows for _, modules in drawn for module in modules for count in module.counts)
    parts: list[str] = []
    y = 0
    for found, modules in drawn:
        y += _TITLE
        parts.append(_text(0, y - 8, what_ran(found), "title"))
        for module in modules:
            strip = strip_of(module, largest, module in found.forwards)
            parts.append(_text(0, y + _ROW - 6, strip.label, "label"))
            for stretch in strip.stretches:
                parts.append(_stretch(stretch.left, stretch.width, y, stretch.colour, stretch.glyph, stretch.words))
            parts.append(_text(_WIDTH - _RIGHT + 10, y + _ROW - 6, strip.verdict, "label"))
            y += _ROW + _GAP
    y += _ROW
    parts.append(_text(0, y - 4, "rows", "label"))
    parts += [_text(_across(tick.left), y - 4, str(tick.rows), "label") for tick in ticks(largest)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 6}" role="img" font-family="sans-serif">'
        "<style>.title{font-size:14px;font-weight:600}.label{font-size:12px;fill:#444}.glyph{font-size:11px}</style>"
        f'<rect width="{_WIDTH}" height="{y + 6}" fill="#fff"/>'
    )
    return head + "\n".join(parts) + "</svg>\n"


def _across(percent: float) -> float:
    return round(_LEFT + percent / 100 * (_WIDTH - _LEFT - _RIGHT), 2)


def _stretch(left: float, width: float, y: int, colour: int | None, glyph: str, words: str) -> str:
    x, end = _across(left), _across(left + width)
    fill = _VARYING if colour is None else _COLOURS[colour]
    letter = _text(round((x + end) / 2 - 3, 2), y + _ROW - 6, glyph, "glyph") if end - x >= _NARROWEST_LETTER else ""
    return (
        f'<rect x="{x}" y="{y}" width="{round(end - x, 2)}" height="{_ROW}" fill="{fill}" stroke="#fff"'
        f' stroke-width="0.5"><title>{escape(words)}</title></rect>{letter}'
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'
