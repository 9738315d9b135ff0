"""Several traces on one page: an answer per trace, then one table per phase with a column per trace."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from tracediff.diff.answer import answer
from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.many import ManyDiff
from tracediff.diff.many_overview import ManySection, many_overview
from tracediff.diff.places import module_name, phase_name
from tracediff.diff.result import Side, TraceDiff
from tracediff.report.diff.answer_words import Fact, answer_line, facts
from tracediff.report.diff.html.render import asset, environment, unindented
from tracediff.report.diff.many_cells import Cell, cells
from tracediff.report.diff.subject import subject_words
from tracediff.text import count, printable
from tracediff.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """The answer of one trace against the first: its name, the judgement, the rest of the sentence, the facts."""

    name: str
    judgement: str
    text: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """Modules of one kind: their name, how many there are, and a cell per trace."""

    name: str
    modules: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTable:
    """One phase, or phases of one name: what may differ in some trace, and how many modules do not."""

    name: str
    rows: tuple[GroupRow, ...]
    equal: str


def render_many(many: ManyDiff, modules: ChosenModules | None = None) -> str:
    """Return the page; it needs no network and no script. Of `modules` alone where they are named."""
    rows = many.rows if modules is None else modules.rows(many.rows)
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
            parts=[_phase_table(section) for section in many_overview(rows)],
            selection="" if modules is None else printable(modules.words(many.rows)),
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


def _phase_table(section: ManySection) -> PhaseTable:
    rows = [
        GroupRow(name=module_name(group.name), modules=len(group.reference), cells=cells(group))
        for group in section.worst_first
        if group.standing.open
    ]
    hidden = sum(len(group.reference) for group in section.groups if not group.standing.open)
    return PhaseTable(
        name=phase_name(section.name),
        rows=tuple(rows),
        equal=f"{count(hidden, 'module')} equal in every trace, or predicted to be" if hidden else "",
    )
