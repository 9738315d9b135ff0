"""Markdown: to paste in an issue. Folded, changed modules only unless asked."""

from __future__ import annotations

from tracediff.diff.result import TraceDiff
from tracediff.diff.summary import summarise
from tracediff.report.diff.lines import hidden_in_words, lines, phases
from tracediff.report.words import coverage_words, duration, trace_words
from tracediff.text import markdown_text

_HEADER = "| layers | module | what changed | split-K | split-K reduces | time | verdict | why |"
_RULE = "| --- | --- | --- | --- | --- | --- | --- | --- |"


def diff_to_markdown(diff: TraceDiff, everything: bool = False, unfold: bool = False) -> str:
    """Return the diff as Markdown.

    Args:
        diff: The result.
        everything: Also modules that run the same kernels in the same order of sums.
        unfold: One line per layer.
    """
    text = ["## tracediff", ""]
    text += [f"> **{markdown_text(warning)}**\n" for warning in diff.warnings]
    for label, side in (("a", diff.a), ("b", diff.b)):
        facts = [
            trace_words(side.info),
            coverage_words(side),
            f"compared: {side.kernels:,}, {duration(side.duration_ns)}",
        ]
        text.append(f"- **{label}** {markdown_text(side.info.path)}: {markdown_text('; '.join([*facts, *side.notes]))}")
    text += ["", *(f"{markdown_text(sentence)}  " for sentence in summarise(diff))]
    for phase, group in phases(lines(diff, everything, unfold)).items():
        text += ["", f"### {markdown_text(phase)}", "", _HEADER, _RULE]
        for line in group:
            why = "; ".join(filter(None, [line.reason, line.bits]))
            cells = (
                line.layers,
                line.module,
                line.change,
                line.split_k,
                line.splitk_reduce,
                line.time,
                line.verdict,
                why,
            )
            text.append(f"| {' | '.join(map(markdown_text, cells))} |")
    if not everything and (hidden := hidden_in_words(diff)):
        text += ["", f"{hidden}."]
    return "\n".join(text) + "\n"
