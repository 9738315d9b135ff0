"""Remedies as Markdown tables, for docs and pull requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tracediff.findings.remedies import RemediesResult, TimedPoint, prices
from tracediff.report.measured_on import versions
from tracediff.report.remedies.words import decode_words, findings, prefill_words, ratio, what_ran, yes_no
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
                _code(bits.setting),
                decode_words(bits),
                prefill_words(bits),
                yes_no(bits.decode_is_prefill),
                markdown_text(", ".join(bits.left)) or "–",
                ratio(price.worst_ratio),
                ratio(price.ratio_to_default),
                "–" if bits.error is None else f"{bits.error:.1e}",
                "–" if bits.memory_bytes is None else f"{bits.memory_bytes / 2**20:.0f}",
            ]
            for bits, price in zip(result.bits, priced, strict=True)
        ],
    )
    if result.times:
        heads = [f"{point.batch} × {point.keys} keys" for point in result.times]
        rows = [
            [markdown_text(bits.setting), *(_time(point, bits.setting) for point in result.times)]
            for bits in result.bits
        ]
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
