"""Several traces on one page: an answer per trace, then one table per phase with a column per trace."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from tracediff.diff.answer import answer
from tracediff.diff.many import ManyDiff
from tracediff.diff.overview import overview
from tracediff.diff.result import Row, Side, TraceDiff
from tracediff.diff.standing import RANK, Standing, standing
from tracediff.report.diff.answer_words import Fact, answer_line, facts
from tracediff.report.diff.html.render import asset, environment, unindented
from tracediff.report.diff.lines import GLYPHS, measured_words, split_k_change
from tracediff.report.diff.names import leading, short_name
from tracediff.report.diff.subject import subject_words
from tracediff.report.words import count, duration
from tracediff.text import printable
from tracediff.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """The answer of one trace against the first: its name, the judgement, the rest of the sentence, the facts."""

    name: str
    judgement: str
    text: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one trace ran in one kind of module.

    Attributes:
        glyph, standing: What is known of its bits against the first trace; empty for the first itself.
        lines: Kernel, split-K, bits, time, each in words.
    """

    glyph: str
    standing: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """One kind of module: its name, how many there are, and a cell per trace."""

    name: str
    modules: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTable:
    """One phase, or phases of one name: what may differ in some trace, and how many modules do not."""

    name: str
    rows: tuple[KindRow, ...]
    equal: str


def render_many(many: ManyDiff) -> str:
    """Return the page; it needs no network and no script."""
    names = [_side_name(number, side) for number, side in enumerate(many.sides)]
    page = (
        environment()
        .get_template("many.html.j2")
        .render(
            subject=subject_words(many.diffs[0]),
            names=names,
            answers=[_answer(name, diff) for name, diff in zip(names[1:], many.diffs, strict=True)],
            warnings=[
                f"{name}: {printable(warning)}"
                for name, diff in zip(names[1:], many.diffs, strict=True)
                for warning in diff.warnings
            ],
            parts=_parts(many),
            style=Markup(asset("report.css")),
            version=__version__,
        )
    )
    return unindented(page)


def _side_name(number: int, side: Side) -> str:
    batch = "" if side.info.batch is None else f" (batch {side.info.batch})"
    return printable(f"{number}: {side.info.path.rsplit('/', 1)[-1]}{batch}")


def _answer(name: str, diff: TraceDiff) -> AnswerView:
    found = answer(diff)
    head, rest = answer_line(found)
    return AnswerView(name=name, judgement=head, text=rest, facts=facts(found))


def _parts(many: ManyDiff) -> list[PhaseTable]:
    sections = [overview(diff.rows) for diff in many.diffs]
    parts = []
    for name in dict.fromkeys(section.name for found in sections for section in found):
        by_trace = [next((section for section in found if section.name == name), None) for found in sections]
        kinds: dict[str, list[list[Row]]] = {}
        names: dict[str, str] = {}
        for place, section in enumerate(by_trace):
            for group in section.groups if section is not None else ():
                for row in group.rows:
                    kinds.setdefault(row.kind, [[] for _ in many.diffs])[place].append(row)
                    names.setdefault(row.kind, group.name)
        rows = [_kind_row(printable(names[kind]), found) for kind, found in kinds.items() if _may_differ(found)]
        hidden = sum(max(map(len, found)) for found in kinds.values() if not _may_differ(found))
        title = "outside every range" if name is None else printable(name)
        equal = f"{count(hidden, 'module')} equal in every trace, or predicted to be" if hidden else ""
        parts.append(PhaseTable(name=title, rows=tuple(rows), equal=equal))
    return parts


def _may_differ(found: list[list[Row]]) -> bool:
    return any(standing(row).open for rows in found for row in rows)


def _kind_row(name: str, found: list[list[Row]]) -> KindRow:
    reference = next(rows for rows in found if rows)
    first = leading(reference[0].a)
    kernel = "no kernel" if first is None else short_name(first.parsed)
    time = duration(sum(row.duration_ns[0] for row in reference))
    cells = [Cell(glyph="", standing="", lines=(kernel, time)), *(_cell(rows) for rows in found)]
    return KindRow(name=name or "(no module)", modules=len(reference), cells=tuple(cells))


def _cell(rows: list[Row]) -> Cell:
    if not rows:
        return Cell(glyph="–", standing="", lines=("not in this trace",))
    worst: Standing = min((standing(row) for row in rows), key=lambda each: RANK[each])
    told = next(row for row in rows if standing(row) is worst)
    kernel = leading(told.b)
    bits = [row.evidence.isolated for row in rows if row.evidence is not None and row.evidence.isolated is not None]
    split = split_k_change(told)
    lines = (
        "no kernel" if kernel is None else short_name(kernel.parsed),
        f"split-K {split}" if split else "",
        f"bits: {measured_words(bits)}" if bits else printable(told.reason),
        duration(sum(row.duration_ns[1] for row in rows)),
    )
    return Cell(glyph=GLYPHS[worst], standing=str(worst), lines=tuple(filter(None, lines)))
