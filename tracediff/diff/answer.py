"""The answer: what happened, why, how it is known, and what is left open. Every output renders this one object.

The judgement is what the evidence carries and no more. A difference is *expected* where sums were taken in another
order and nothing that must not change bits did; it is a *bug* only where a control that nothing can confound found one;
where a measurement is missing or contradicts another, the answer is that one *cannot tell*, and what would settle it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tracediff.diff.compared import NotCompared
from tracediff.diff.overview import Group, Section, overview, sums_products
from tracediff.diff.result import Row, TraceDiff, Verdict
from tracediff.diff.standing import Standing
from tracediff.diff.words import listing
from tracediff.measured import CONTROLS, Control, Repair, RunEvidence

_CAUSES = 2
_CONTROL_NAMES = {
    "run_to_run": "run to run",
    "neighbours": "neighbours",
    "position": "row position",
    "profiler": "profiler",
}
#: Without these two a difference of bits cannot be called expected.
_NEEDED = ("run_to_run", "neighbours")
_HOW_TO_MEASURE = "`tracediff capture` on a GPU replays every module on equal inputs and makes the controls"


class Judgement(StrEnum):
    """What the evidence amounts to."""

    NO_DIFFERENCE = "no difference"
    EXPECTED = "expected"
    NOT_REPEATABLE = "does not repeat itself"
    LEAK = "bug: leak"
    SAMPLER = "bug: sampler"
    CANNOT_TELL = "cannot tell"

    @property
    def bug(self) -> bool:
        """Whether this is a fault in the program, not a property of floating-point sums."""
        return self in (Judgement.LEAK, Judgement.SAMPLER)


class ControlResult(StrEnum):
    """What a control found."""

    EQUAL = "equal"
    DIFFERS = "differs"
    CANNOT_TELL = "cannot tell"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAnswer:
    """One control: the same work again with one thing changed that must not matter.

    Attributes:
        name: What was changed: `run to run`, `neighbours`, `row position`, `profiler`.
        result: What it found.
        detail: Where bits first differed, or why it cannot be told; empty where there is nothing to say.
    """

    name: str
    result: ControlResult
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What happened between two traces.

    Attributes:
        judgement: What the evidence amounts to.
        measured: Whether bits were measured; else the judgement rests on the traces alone.
        outcome: What came out, in one phrase (`logits differ, no token flipped`).
        cause: Why, in one phrase; empty where nothing differs.
        chain: Kernels → order → bits → logits → tokens.
        controls: Empty where none was made.
        repair: What makes the logits bit-identical, as measured; None where none was needed or sought.
        contradicted: Modules that were predicted to keep their bits and did not.
        not_compared: What of either trace was left out, as (trace `a` or `b`, what).
        settle: What would settle the open question; empty where none is open.
        sections: The modules, grouped.
    """

    judgement: Judgement
    measured: bool
    outcome: str
    cause: str
    chain: tuple[Link, ...]
    controls: tuple[ControlAnswer, ...]
    repair: Repair | None
    contradicted: tuple[str, ...]
    not_compared: tuple[tuple[str, NotCompared], ...]
    settle: str
    sections: tuple[Section, ...]

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        basis = "" if self.measured or self.judgement is Judgement.CANNOT_TELL else " (from the traces alone)"
        cause = f". Cause: {self.cause}" if self.cause else ""
        return f"{self.judgement}{basis}: {self.outcome}{cause}"

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values; the groups are the rows' and are left out."""
        return {
            "judgement": str(self.judgement),
            "measured": self.measured,
            "outcome": self.outcome,
            "cause": self.cause,
            "chain": [asdict(link) for link in self.chain],
            "controls": [{**asdict(control), "result": str(control.result)} for control in self.controls],
            "repair": None if self.repair is None else {**asdict(self.repair), "minimal": list(self.repair.minimal)},
            "contradicted": list(self.contradicted),
            "not_compared": [
                {"trace": side, **asdict(left_out), "why": str(left_out.why)} for side, left_out in self.not_compared
            ],
            "settle": self.settle,
        }


def answer(diff: TraceDiff) -> Answer:
    """Return the answer of a diff.

    Args:
        diff: The diff, with evidence attached where there is some.
    """
    sections = overview(diff.rows)
    controls = _controls(diff.evidence)
    contradicted = [row for row in diff.rows if row.contradicted]
    judgement, outcome, settle = _judge(diff, controls, contradicted)
    return Answer(
        judgement=judgement,
        measured=_measured(diff),
        outcome=outcome,
        cause="" if judgement is Judgement.NO_DIFFERENCE else _cause(sections, contradicted),
        chain=_chain(diff),
        controls=controls,
        repair=None if diff.evidence is None else diff.evidence.repair,
        contradicted=tuple(
            f"{row.module or 'no module'} ({row.phase or 'outside every range'})" for row in contradicted
        ),
        not_compared=(
            *(("a", left_out) for left_out in diff.a.not_compared),
            *(("b", left_out) for left_out in diff.b.not_compared),
        ),
        settle=settle,
        sections=sections,
    )


# -- the judgement ----------------------------------------------------------------------------------------------------


def _judge(  # noqa: PLR0911 -- one return per judgement, gravest first
    diff: TraceDiff, controls: Sequence[ControlAnswer], contradicted: Sequence[Row]
) -> tuple[Judgement, str, str]:
    """Return the judgement, the outcome in words, and what would settle an open question."""
    if not diff.rows:
        return Judgement.CANNOT_TELL, "neither trace holds a kernel to compare", "see --explain-coverage"
    if diff.evidence is None or not diff.evidence.logits:
        return _judge_traces(diff)
    found = {control.name: control.result for control in controls}
    outcome = _outcome(diff.evidence)
    if found.get("run to run") is ControlResult.DIFFERS:
        return Judgement.NOT_REPEATABLE, "the same run twice gives other bits", "measure with a backend that repeats"
    if contradicted:
        settle = "please report this: the rule that promised equal bits is wrong"
        return Judgement.CANNOT_TELL, f"{outcome}; a prediction of equal bits was contradicted", settle
    differing = [bits for bits in diff.evidence.logits.values() if bits is not None and not bits.equal]
    if not differing:
        return Judgement.NO_DIFFERENCE, outcome + _unmoved(diff), ""
    for name in ("row position", "profiler"):
        if found.get(name) is ControlResult.DIFFERS:
            return Judgement.CANNOT_TELL, f"{outcome}; the control '{name}' found other bits", "see that control"
    missing = [_CONTROL_NAMES[name] for name in _NEEDED if found.get(_CONTROL_NAMES[name]) is not ControlResult.EQUAL]
    if missing:
        return Judgement.CANNOT_TELL, f"{outcome}; open: {listing(missing)}", _HOW_TO_MEASURE
    if not any(row.bits_equal is False for row in diff.rows):
        return Judgement.CANNOT_TELL, f"{outcome}, yet no replayed module gives other bits", ""
    return Judgement.EXPECTED, outcome, ""


def _judge_traces(diff: TraceDiff) -> tuple[Judgement, str, str]:
    """Judge by the traces alone: nothing was measured."""
    verdicts = diff.verdicts
    left_out = sum(each.kernels for side in (diff.a, diff.b) for each in side.not_compared if each.weighs)
    one_sided = sum(not row.a or not row.b for row in diff.rows)
    if verdicts[Verdict.ORDER_CHANGED]:
        return Judgement.EXPECTED, "bits can differ", f"not measured; {_HOW_TO_MEASURE}"
    if verdicts[Verdict.UNKNOWN]:
        what = f"{verdicts[Verdict.UNKNOWN]:,} of {len(diff.rows):,} modules cannot be judged from the traces"
        if one_sided:
            what += f" ({one_sided:,} ran in one trace only)"
        return Judgement.CANNOT_TELL, what, _HOW_TO_MEASURE
    if left_out:
        what = f"no difference in what was compared, but {left_out:,} kernels were not compared"
        return Judgement.CANNOT_TELL, what, "compare the phases they ran in, or record both runs alike"
    if verdicts[Verdict.SAME_KERNELS] == len(diff.rows):
        return Judgement.NO_DIFFERENCE, "the same kernels, launched alike", ""
    return Judgement.NO_DIFFERENCE, "every sum keeps its order" + _unmoved(diff), ""


def _outcome(evidence: RunEvidence) -> str:
    """Say what came out: logits and tokens."""
    known = {phase: bits for phase, bits in evidence.logits.items() if bits is not None}
    if not known:
        return "no logits were measured"
    differing = [phase for phase, bits in known.items() if not bits.equal]
    if not differing:
        return "logits are bit-identical"
    flipped = [phase for phase, (a, b) in evidence.tokens.items() if a != b]
    if flipped:
        return f"logits differ, another token is chosen in {listing(flipped)}"
    return "logits differ, no token flipped" if evidence.tokens else "logits differ"


def _measured(diff: TraceDiff) -> bool:
    return diff.evidence is not None and any(row.bits_equal is not None for row in diff.rows)


# -- the cause --------------------------------------------------------------------------------------------------------


def _cause(sections: Sequence[Section], contradicted: Sequence[Row]) -> str:
    """Name what changed where the difference begins: measured origins, else modules that sum in another order."""
    groups = [group for section in sections for group in section.groups]
    wanted = (
        (Standing.CONTRADICTED,)
        if contradicted
        else next(
            (
                (each,)
                for each in (Standing.DIFFERS, Standing.CAN_DIFFER, Standing.UNKNOWN)
                if any(group.standing is each for group in groups)
            ),
            (),
        )
    )
    origins = [group for group in groups if group.standing in wanted]
    by_reason: dict[str, list[Group]] = {}
    # The products and attentions first: a norm that differs in one layer is seldom what a reader looks for.
    for group in sorted(origins, key=lambda group: not sums_products(group.rows[0])):
        by_reason.setdefault(group.rows[0].reason, []).append(group)
    named = [
        f"{reason} in {listing(dict.fromkeys(group.name or 'no module' for group in members), limit=4)}{_phases(members)}"
        for reason, members in list(by_reason.items())[:_CAUSES]
    ]
    rest = {group.name for members in list(by_reason.values())[_CAUSES:] for group in members}
    return "; ".join(named) + (f"; and {listing(sorted(rest), limit=3)}" if rest else "")


def _phases(groups: Iterable[Group]) -> str:
    phases = dict.fromkeys(phase for group in groups for phase in group.phases)
    named = [phase for phase in phases if phase is not None]
    return f" ({listing(named, limit=2)})" if named else ""


def _unmoved(diff: TraceDiff) -> str:
    """Say what changed all the same, where nothing came of it."""
    renamed = sum(row.names_differ for row in diff.rows)
    return f", though {renamed:,} of {len(diff.rows):,} modules run other kernels" if renamed else ""


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


def _controls(evidence: RunEvidence | None) -> tuple[ControlAnswer, ...]:
    if evidence is None or not evidence.controls:
        return ()
    known = [name for name in CONTROLS if name in evidence.controls]
    unknown = [name for name in evidence.controls if name not in CONTROLS]
    repeats = evidence.controls.get("run_to_run")
    return tuple(_control(name, evidence.controls[name], repeats) for name in (*known, *unknown))


def _control(name: str, control: Control, repeats: Control | None) -> ControlAnswer:
    words = _CONTROL_NAMES.get(name, name.replace("_", " "))
    if control.equal is None:
        return ControlAnswer(name=words, result=ControlResult.NOT_MEASURED)
    if control.equal:
        return ControlAnswer(name=words, result=ControlResult.EQUAL)
    where = f"first in {control.first}" if control.first else ""
    if name == "run_to_run":
        return ControlAnswer(name=words, result=ControlResult.DIFFERS, detail=where)
    # These compare whole runs: noise of the run itself looks the same.
    why = "the same run twice gives other bits" if repeats and repeats.equal is False else "noise was not held out"
    return ControlAnswer(name=words, result=ControlResult.CANNOT_TELL, detail=f"other bits {where}, but {why}")
