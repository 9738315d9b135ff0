"""Remedies as Markdown tables, for docs and pull requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tracediff.findings.remedies import RemediesResult, TimedPoint, prices
from tracediff.report.measured_on import versions
from tracediff.report.remedies.words import (
    decode_is_prefill_words,
    decode_words,
    error_words,
    findings,
    left_words,
    memory_words,
    prefill_words,
    ratio,
    what_ran,
)
from tracediff.text import markdown_text


def remedies_to_markdown(result: RemediesResult) -> str:
    """Return what ran, bits, times and sentences."""
    priced = prices(result)
    lines = [f"**{markdown_text(what_ran(result))}** ({markdown_text(versions(result.machine))})", ""]
    lines += _table(
        [
            "setting",
            "decode, classes at keys",
            "prefill",
            "decode = prefill",
            "left",
            "× fastest",
            "× default",
            "error",
            "MiB",
        ],
        [
            [
                _code(price.setting),
                decode_words(price.bits),
                prefill_words(price.bits),
                decode_is_prefill_words(price.bits),
                markdown_text(left_words(price.bits)),
                ratio(price.worst_ratio),
                ratio(price.ratio_to_default),
                error_words(price.bits),
                memory_words(price.bits),
            ]
            for price in priced
        ],
    )
    if result.times:
        heads = [f"{point.batch} × {point.keys} keys" for point in result.times]
        rows = [[markdown_text(name), *(_time(point, name) for point in result.times)] for name in result.settings]
        lines += ["", "Milliseconds per step, median (spread):", "", *_table(["setting", *heads], rows)]
    lines += ["", *(f"- {markdown_text(sentence)}" for sentence in findings(result, priced))]
    return "\n".join(lines) + "\n"


def _time(point: TimedPoint, setting: str) -> str:
    median, spread = point.milliseconds(setting), point.spread(setting)
    return "–" if median is None or spread is None else f"{median:.2f} ({spread:.1%})"


def _code(name: str) -> str:
    """Write a setting's name as code; what is no such name as text."""
    return f"`{name}`" if re.fullmatch(r"[a-z0-9+-]+", name) else markdown_text(name)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    return [line(heads), line(["---"] * len(heads)), *map(line, rows)]
