"""The figure: per kind of module its split-K factor and GPU time on both sides, what changed first."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.diff.overview import Section
from tracediff.diff.places import NO_MODULE, layer_span
from tracediff.diff.result import Row
from tracediff.report.diff.answer_words import section_words
from tracediff.report.diff.html.view import Bar, FigureSection
from tracediff.report.diff.lines import split_k_change
from tracediff.report.diff.spread import Spread
from tracediff.report.words import gpu_time
from tracediff.text import printable

_NAMED_FACTORS = 3


def figure(sections: Sequence[Section], spread: Spread) -> tuple[FigureSection, ...]:
    """Return the figure, one part per section that has modules inside blocks or a GEMM.

    Args:
        sections: Of the answer.
        spread: How much equal work varies.
    """
    parts = [FigureSection(name=section_words(section)[0], bars=_bars(section, spread)) for section in sections]
    return tuple(part for part in parts if part.bars)


def _bars(section: Section, spread: Spread) -> tuple[Bar, ...]:
    by_kind: dict[str, list[Row]] = {}
    names = {row.kind: group.name for group in section.groups for row in group.rows}
    for row in section.rows:
        by_kind.setdefault(row.kind, []).append(row)
    times = {kind: _time(rows) for kind, rows in by_kind.items()}
    longest = max((value for both in times.values() for value in both), default=0)
    bars = [_bar(printable(names[kind]), rows, times[kind], longest, spread) for kind, rows in by_kind.items()]
    # What changed its split first, then what takes longest: the order in which they are asked about.
    return tuple(sorted(bars, key=lambda bar: (not bar.split_k_changed, -max(bar.duration_ns))))


def _bar(name: str, rows: Sequence[Row], time: tuple[int, int], longest: int, spread: Spread) -> Bar:
    a, b = time
    return Bar(
        name=name or NO_MODULE,
        modules=len(rows),
        split_k=_factors(rows),
        split_k_changed=any(None not in row.split_k and row.split_k[0] != row.split_k[1] for row in rows),
        duration_ns=time,
        width=(_share(a, longest), _share(b, longest)),
        text=(
            gpu_time(kernel for row in rows for kernel in row.a),
            gpu_time(kernel for row in rows for kernel in row.b),
            spread.change(a, b, len(rows)),
        ),
    )


def _factors(rows: Sequence[Row]) -> str:
    """Return the split-K factors over the layers: `3 → 2`; `3 → 2 (0–30), 3 → 3 (31)` where they are not all alike."""
    layers: dict[str, list[int]] = {}
    for row in rows:
        words = split_k_change(row)
        if words:
            layers.setdefault(words, []).extend([] if row.layer is None else [row.layer])
    if len(layers) < 2:
        return next(iter(layers), "")
    told = [f"{words} ({layer_span(sorted(set(found)))})" for words, found in layers.items()]
    rest = len(told) - _NAMED_FACTORS
    return ", ".join(told[:_NAMED_FACTORS]) + (f", and {rest} more" if rest > 0 else "")


def _time(rows: Sequence[Row]) -> tuple[int, int]:
    return sum(row.duration_ns[0] for row in rows), sum(row.duration_ns[1] for row in rows)


def _share(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
