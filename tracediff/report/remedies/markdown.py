"""Remedies as Markdown tables, for docs and pull requests."""

from __future__ import annotations

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


def remedies_to_markdown(result: RemediesResult) -> str:
    """Return what ran, bits, times and sentences."""
    priced = prices(result)
    lines = [f"**{what_ran(result)}** ({versions(result.machine)})", ""]
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
                f"`{price.setting}`",
                decode_words(price.bits),
                prefill_words(price.bits),
                decode_is_prefill_words(price.bits),
                left_words(price.bits),
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
        rows = [[f"`{name}`", *(_time(point, name) for point in result.times)] for name in result.settings]
        lines += ["", "Milliseconds per step, median (spread):", "", *_table(["setting", *heads], rows)]
    lines += ["", *(f"- {sentence}" for sentence in findings(result, priced))]
    return "\n".join(lines) + "\n"


def _time(point: TimedPoint, setting: str) -> str:
    median, spread = point.milliseconds(setting), point.spread(setting)
    return "–" if median is None or spread is None else f"{median:.2f} ({spread:.1%})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(heads), line(["---"] * len(heads)), *map(line, rows)]
