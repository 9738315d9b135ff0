"""The answer as a small HTML table, for a notebook's cell."""

from __future__ import annotations

from markupsafe import Markup

from tracediff.diff.answer import answer
from tracediff.diff.result import TraceDiff
from tracediff.report.diff.answer_words import answer_line, facts, section_words
from tracediff.report.diff.lines import folds, open_lines
from tracediff.report.diff.signs import legend
from tracediff.report.diff.subject import side_words, subject_words

_CELL = Markup('<td style="text-align:left">{}</td>')


def diff_to_notebook(diff: TraceDiff) -> str:
    """Return the answer, its facts and the modules that may differ; everything else is in `to_html()`."""
    found = answer(diff)
    head, rest = answer_line(found)
    sides = " → ".join(side_words(diff.a, diff.b))
    parts = [
        Markup("<p>{} — {}</p>").format(subject_words(diff), sides),
        Markup("<p><strong>{}</strong> {}</p>").format(head, rest),
        _table([*((fact.label, fact.text) for fact in facts(found)), ("signs", legend(diff.rows))]),
    ]
    for section in found.sections:
        name, numbers = section_words(section)
        parts.append(Markup("<p><strong>{}</strong> {}</p>").format(name, numbers))
        parts.append(
            _table(
                [
                    (line.sign, line.modules, line.where, line.change, line.split_k, line.bits)
                    for line in open_lines(section)
                ]
            )
        )
        parts += [Markup("<p>{} {} ({})</p>").format(line.sign, line.text, line.modules) for line in folds(section)]
    return Markup("<div>{}</div>").format(Markup("").join(parts))


def _table(rows: list[tuple[str, ...]]) -> Markup:
    if not rows:
        return Markup("")
    lines = [Markup("<tr>{}</tr>").format(Markup("").join(_CELL.format(cell) for cell in row)) for row in rows]
    return Markup("<table>{}</table>").format(Markup("").join(lines))
