"""Markdown: to paste in an issue. The answer, then what changed, worst first."""

from __future__ import annotations

from tracediff.diff.answer import answer
from tracediff.diff.many import ManyDiff
from tracediff.diff.result import TraceDiff
from tracediff.report.diff.answer_words import answer_line, facts, section_words
from tracediff.report.diff.lines import Fold, Line, folds, open_lines
from tracediff.report.diff.signs import legend
from tracediff.report.diff.subject import side_words, subject_words
from tracediff.report.diff.view import View, sections
from tracediff.report.words import NOT_RUN
from tracediff.text import markdown_text

_HEADER = "| | module | layers | kernel | split-K | bits on equal inputs | µs per module |"
_RULE = "|---|---|---|---|---|---|---|"


def diff_to_markdown(diff: TraceDiff, view: View | None = None) -> str:
    """Return the diff as Markdown.

    Args:
        diff: The result.
        view: What to show; the default is what the terminal shows.
    """
    view = view or View()
    found = answer(diff)
    head, rest = answer_line(found)
    a, b = side_words(diff.a, diff.b)
    text = [f"## tracediff: {markdown_text(head)}", ""]
    text += [f"> **{markdown_text(warning)}**\n" for warning in diff.warnings]
    text += [f"{markdown_text(subject_words(diff))} — **{markdown_text(a)} → {markdown_text(b)}**", ""]
    text += [f"**{markdown_text(head)}** {markdown_text(rest)}", ""]
    text += [f"- {fact.label}: {markdown_text(fact.text)}" for fact in facts(found)]
    text += [
        f"- {label}: {markdown_text(note)}" for label, side in (("a", diff.a), ("b", diff.b)) for note in side.notes
    ]
    shown = sections(diff, found, view)
    text.append(f"- signs: {markdown_text(legend(row for section in shown for row in section.rows))}")
    if view.modules is not None:
        text.append(f"- shown: {markdown_text(view.modules.words(diff.rows))}")
    for section in shown:
        name, numbers = section_words(section)
        text += ["", f"### {markdown_text(name)}", "", markdown_text(numbers), ""]
        lines = open_lines(section, view.sort, view.everything)
        if lines:
            text += [_HEADER, _RULE, *map(_row, lines), ""]
        if not view.everything:
            text += map(_fold, folds(section))
    return "\n".join(text) + "\n"


def many_to_markdown(many: ManyDiff, view: View | None = None) -> str:
    """Return the comparisons of the first trace with each of the others, one after the other."""
    return "\n".join(diff_to_markdown(diff, view) for diff in many.diffs)


def _row(line: Line) -> str:
    time = " → ".join(NOT_RUN if each is None else f"{each / 1000:,.1f}" for each in line.time_ns)
    cells = (line.sign, line.modules, line.where, line.change, line.split_k, line.bits, time)
    return f"| {' | '.join(map(markdown_text, cells))} |"


def _fold(fold: Fold) -> str:
    return f"- {fold.sign} {markdown_text(fold.text)} — {markdown_text(fold.modules)}"
