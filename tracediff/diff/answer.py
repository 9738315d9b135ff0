"""The answer: what happened, why, how it is known, and what is left open. Every output renders this one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from tracediff.diff.compared import NotCompared
from tracediff.diff.judgement import CONTROL_NAMES, Judgement, judge
from tracediff.diff.noise import noise_in_words
from tracediff.diff.overview import Group, Section, overview, sums_products
from tracediff.diff.result import Row, TraceDiff, Verdict
from tracediff.diff.standing import Standing
from tracediff.diff.words import listing
from tracediff.kernels.compare import differing_fields
from tracediff.measured import CONTROLS, Control, ControlResult, Repair, RunEvidence
from tracediff.text import printable

_CAUSES = 2
#: Changes of a kernel's name that are told.
_FIELDS = 2


class ControlAnswer(Struct, frozen=True, kw_only=True):
    """One control: the same work again with one thing changed that must not matter.

    Attributes:
        name: What was changed: `run to run`, `neighbours`, `row position`, `profiler`.
        result: What it found.
        detail: Where bits first differed, or why it cannot be told; empty where there is nothing to say.
    """

    name: str
    result: ControlResult
    detail: str = ""


class Link(Struct, frozen=True, kw_only=True):
    """One link of the chain from kernel to token.

    Attributes:
        name: `kernels`, `order`, `bits`, `logits`, `tokens`.
        differing: How many differ; None where that was not measured.
        total: Of how many.
        unknown: How many more cannot be judged.
        counted: What is counted: `modules` or `phases`.
    """

    name: str
    differing: int | None
    total: int
    unknown: int = 0
    counted: str = "modules"


class Margin(Struct, frozen=True, kw_only=True):
    """How far the logits moved, beside what a token needs to flip.

    Attributes:
        max_abs: Largest |difference| of a logit in any phase.
        max_abs_phase: Where.
        scale: Largest |logit| there.
        smallest: Smallest top-1 minus top-2 logit of either side.
        smallest_phase: Where.
    """

    max_abs: float
    max_abs_phase: str
    scale: float | None
    smallest: float | None
    smallest_phase: str | None


class Answer(Struct, frozen=True, kw_only=True):
    """What happened between two traces.

    Attributes:
        judgement: What the evidence amounts to.
        measured: Whether bits were measured; else the judgement rests on the traces alone.
        outcome: What came out, in one phrase (`logits differ, no token flipped`).
        cause: Why, in one phrase; empty where nothing differs, and where no cause is known.
        not_judged: What keeps the judgement open, in one phrase; empty where it is not open.
        chain: Kernels → order → bits → logits → tokens.
        margin: None where it was not measured.
        controls: Empty where none was made.
        repair: What makes the logits bit-identical, as measured; None where none was needed or sought.
        contradicted: Modules that were predicted to keep their bits and did not.
        not_compared: What of either trace was left out, as (trace `a` or `b`, what).
        settle: What would settle the open question; empty where none is open.
        shown: The phases that `sections` are of, where they are not all; everything else is of the whole run.
        sections: The modules, grouped.
    """

    judgement: Judgement
    measured: bool
    outcome: str
    cause: str
    not_judged: str
    chain: tuple[Link, ...]
    margin: Margin | None
    controls: tuple[ControlAnswer, ...]
    repair: Repair | None
    contradicted: tuple[str, ...]
    not_compared: tuple[tuple[str, NotCompared], ...]
    settle: str
    shown: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def basis(self) -> str:
        """What the judgement rests on, where bits were not measured or not all that is judged is shown; else empty."""
        words = ["of the whole run"] if self.shown else []
        words += [] if self.measured else ["from the traces alone"]
        return f"({', '.join(words)})" if words else ""

    @property
    def because(self) -> str:
        """The cause, or what was not judged, as a sentence's end; empty where there is neither."""
        if self.cause:
            return f"Cause: {self.cause}"
        return f"Not judged: {self.not_judged}" if self.not_judged else ""

    @property
    def headline(self) -> str:
        """The judgement, its basis, and what came out."""
        return f"{' '.join(filter(None, [str(self.judgement), self.basis]))}: {self.outcome}"

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        return ". ".join(filter(None, [self.headline, self.because]))

    def __repr__(self) -> str:
        """Return one line: its sections hold every kernel."""
        return printable(f"<Answer {self.sentence}>")

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values; the groups are the rows' and are left out."""
        return {
            "judgement": str(self.judgement),
            "measured": self.measured,
            "outcome": self.outcome,
            "cause": self.cause,
            "not_judged": self.not_judged,
            "chain": [asdict(link) for link in self.chain],
            "margin": None if self.margin is None else asdict(self.margin),
            "controls": [{**asdict(control), "result": str(control.result)} for control in self.controls],
            "repair": None if self.repair is None else {**asdict(self.repair), "minimal": list(self.repair.minimal)},
            "contradicted": list(self.contradicted),
            "not_compared": [
                {"trace": side, **asdict(left_out), "why": str(left_out.why)} for side, left_out in self.not_compared
            ],
            "settle": self.settle,
            "shown": list(self.shown),
        }


def answer(diff: TraceDiff) -> Answer:
    """Return the answer of a diff.

    Args:
        diff: The diff, with evidence attached where there is some. Where it is of some phases, all but the sections is
            of the whole run: so are logits, controls and tokens.
    """
    shown = overview(diff.rows)
    phases = tuple(dict.fromkeys(row.phase or "" for row in diff.rows)) if diff.whole is not None else ()
    diff = diff.judged
    controls = () if diff.evidence is None else control_answers(diff.evidence.controls)
    contradicted = [row for row in diff.rows if row.contradicted]
    found = judge(diff)
    groups = [group for section in overview(diff.rows) for group in section.groups]
    return Answer(
        judgement=found.judgement,
        measured=_measured(diff),
        outcome=found.outcome,
        cause=_cause_of(found.judgement, diff, groups),
        not_judged=_changes(_first_standing(groups, (Standing.UNKNOWN,))) if found.modules_open else "",
        chain=_chain(diff),
        margin=None if diff.evidence is None else _margin(diff.evidence),
        controls=controls,
        repair=None if diff.evidence is None else diff.evidence.repair,
        contradicted=tuple(
            f"{row.module or 'no module'} ({row.phase or 'outside every range'})" for row in contradicted
        ),
        not_compared=(
            *(("a", left_out) for left_out in diff.a.not_compared),
            *(("b", left_out) for left_out in diff.b.not_compared),
        ),
        settle=found.settle,
        shown=phases,
        sections=shown,
    )


def _measured(diff: TraceDiff) -> bool:
    return diff.evidence is not None and any(row.bits_equal is not None for row in diff.rows)


# -- the cause --------------------------------------------------------------------------------------------------------


def _cause_of(judgement: Judgement, diff: TraceDiff, groups: Sequence[Group]) -> str:
    if judgement in (Judgement.NO_DIFFERENCE, Judgement.LEAK):
        # No order of summation makes a row depend on its neighbours.
        return ""
    measured = _first_standing(groups, (Standing.CONTRADICTED, Standing.DIFFERS))
    noise = None if diff.evidence is None else noise_in_words(diff.evidence)
    if noise is not None:
        # What varies was held out when these were found: noise is not all there is.
        return f"{noise}; besides, {_changes(measured)}" if measured else noise
    if measured:
        return _changes(measured)
    return "" if judgement is Judgement.CANNOT_TELL else _changes(_first_standing(groups, (Standing.CAN_DIFFER,)))


def _first_standing(groups: Sequence[Group], wanted: Sequence[Standing]) -> list[Group]:
    """Return the groups of the first of these standings that any group has."""
    found = ([group for group in groups if group.standing is each] for each in wanted)
    return next(filter(None, found), [])


def _changes(groups: Sequence[Group]) -> str:
    """Name the commonest changes of some groups and where they are."""
    by_reason: dict[str, list[Group]] = {}
    # The products and attentions first: a norm that differs in one layer is seldom what a reader looks for.
    for group in sorted(groups, key=lambda group: not sums_products(group.rows[0])):
        by_reason.setdefault(_change(group), []).append(group)
    named = [f"{reason}{_where(members)}{_phases(members)}" for reason, members in list(by_reason.items())[:_CAUSES]]
    told = {group.name for members in list(by_reason.values())[:_CAUSES] for group in members}
    rest = {group.name for members in list(by_reason.values())[_CAUSES:] for group in members} - told
    return "; ".join(named) + (
        f"; more in {listing(sorted(name or 'kernels outside every module' for name in rest), limit=3)}" if rest else ""
    )


def _change(group: Group) -> str:
    """Return what changed; of measured modules whose kernels did not, as far as the traces tell, that nothing did."""
    row = group.rows[0]
    measured = group.standing in (Standing.CONTRADICTED, Standing.DIFFERS)
    if measured and not row.changed and row.verdict is not Verdict.ORDER_CHANGED:
        return "no change that the traces record"
    # The reason of a contradicted row is why its bits should be equal.
    return _changed_launch(row) if group.standing is Standing.CONTRADICTED else row.reason


def _changed_launch(row: Row) -> str:
    """Name what changed of a row's kernels, whatever it means for bits."""
    for pair in row.pairs:
        if pair.a is None or pair.b is None:
            return "kernels in one trace only"
        if pair.a.identity != pair.b.identity:
            fields = differing_fields(pair.a.parsed, pair.b.parsed)[:_FIELDS]
            return f"different kernel ({', '.join(each.text for each in fields)})" if fields else "different kernel"
    return "different launch of the same kernel"


def _where(groups: Sequence[Group]) -> str:
    if not any(group.name for group in groups):
        return " outside every module"
    return f" in {listing(dict.fromkeys(group.name or 'kernels outside every module' for group in groups), limit=4)}"


def _phases(groups: Iterable[Group]) -> str:
    phases = dict.fromkeys(phase for group in groups for phase in group.phases)
    named = [phase for phase in phases if phase is not None]
    return f" ({listing(named, limit=2)})" if named else ""


# -- the chain and the controls ---------------------------------------------------------------------------------------


def _chain(diff: TraceDiff) -> tuple[Link, ...]:
    rows, evidence = diff.rows, diff.evidence
    judged = [row.bits_equal for row in rows if row.bits_equal is not None]
    logits = [] if evidence is None else [bits.equal for bits in evidence.logits.values() if bits is not None]
    tokens = [] if evidence is None else [a == b for a, b in evidence.tokens.values()]
    return (
        Link(name="kernels", differing=sum(row.changed for row in rows), total=len(rows)),
        Link(
            name="order",
            differing=diff.verdicts[Verdict.ORDER_CHANGED],
            total=len(rows),
            unknown=diff.verdicts[Verdict.UNKNOWN],
        ),
        Link(name="bits", differing=judged.count(False) if judged else None, total=len(judged)),
        Link(name="logits", differing=logits.count(False) if logits else None, total=len(logits), counted="phases"),
        Link(name="tokens", differing=tokens.count(False) if tokens else None, total=len(tokens), counted="phases"),
    )


def control_answers(controls: Mapping[str, Control]) -> tuple[ControlAnswer, ...]:
    """Return what each control found, the known ones first.

    Args:
        controls: As measured, by name.
    """
    known = [name for name in CONTROLS if name in controls]
    unknown = [name for name in controls if name not in CONTROLS]
    return tuple(_control(name, controls[name]) for name in (*known, *unknown))


def _control(name: str, control: Control) -> ControlAnswer:
    words = CONTROL_NAMES.get(name, name.replace("_", " "))
    detail = control.why or (f"first in {control.first}" if control.first else "")
    return ControlAnswer(name=words, result=control.answer, detail=detail)


def _margin(evidence: RunEvidence) -> Margin | None:
    moved = {phase: move.max_abs for phase, move in evidence.moves.items() if move.max_abs is not None}
    if not moved:
        return None
    farthest = max(moved, key=lambda phase: moved[phase])
    margins = [
        (margin, phase) for phase, move in evidence.moves.items() for margin in move.margins if margin is not None
    ]
    smallest, smallest_phase = min(margins, default=(None, None))
    return Margin(
        max_abs=moved[farthest],
        max_abs_phase=farthest,
        scale=evidence.moves[farthest].scale,
        smallest=smallest,
        smallest_phase=smallest_phase,
    )
