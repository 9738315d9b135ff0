"""The judgement: what the evidence carries, and no more.

A difference is *expected* where sums were taken in a different order and nothing that must not change bits did; it is a
*bug* only where a control that nothing can confound found one; where a measurement is missing or contradicts another,
the judgement is *cannot tell*, and `settle` says what would settle it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from tracediff.diff.result import TraceDiff, Verdict
from tracediff.diff.same_work import other_machine, other_work
from tracediff.diff.words import listing
from tracediff.measured import ControlResult, RunEvidence, near_ties

CONTROL_NAMES = {
    "run_to_run": "run to run",
    "neighbours": "neighbours",
    "position": "row position",
    "profiler": "profiler",
}
#: Without these two a difference of bits cannot be called expected.
_NEEDED = ("run_to_run", "neighbours")
_BY_CAPTURE = "`tracediff capture` on a GPU replays every module on equal inputs and runs the controls"
#: What a control that found different bits, and is no proof of a fault, leaves to look at.
_AFTER_CONTROL = {
    "position": "look at the kernel where it first differs: an indexing fault does this, and so does a kernel that "
    "treats edge rows differently",
    "profiler": "capture again: the recorded kernels may not be those of a run without the profiler",
}
_BETWEEN_MODULES = "look at what runs between the modules: it is not replayed"
_AT_THE_FLIP = "look for what moved its two logits: where no token flips, logits of this run move less"
#: A capture runs a model in transformers: of other programs, with their own kernels, it measures nothing.
_BY_THE_PROGRAM = (
    "compare the logits or log-probabilities that the program itself returns in both cases, each run twice: "
    "traces hold no values"
)


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


class Assessment(Struct, frozen=True, kw_only=True):
    """A judgement with its words.

    Attributes:
        judgement: What the evidence amounts to.
        outcome: What came out, in one phrase.
        settle: What would settle the open question; empty where none is open.
        modules_open: Whether it is open because modules cannot be judged from the traces.
    """

    judgement: Judgement
    outcome: str
    settle: str = ""
    modules_open: bool = False


def judge(diff: TraceDiff) -> Assessment:
    """Judge two traces and what was measured of them.

    Args:
        diff: Of all phases: evidence is of whole runs.
    """
    if not diff.rows:
        outcome = "neither trace holds a kernel to compare"
        return Assessment(judgement=Judgement.CANNOT_TELL, outcome=outcome, settle="see `show --explain-coverage`")
    if diff.evidence is None or not diff.evidence.logits:
        return _judge_comparable(diff)
    found = judge_evidence(diff.evidence, sum(row.contradicted for row in diff.rows))
    if found.judgement is Judgement.NO_DIFFERENCE:
        return replace(found, outcome=found.outcome + _unmoved(diff))
    return found


def judge_evidence(evidence: RunEvidence, contradicted: int = 0) -> Assessment:  # noqa: PLR0911 -- one per judgement
    """Judge what was measured of two batch sizes, gravest first.

    Args:
        evidence: Of the whole runs.
        contradicted: Modules that gave different bits on equal inputs and were predicted to keep them.
    """
    outcome = _outcome(evidence)
    controls = {name: control.answer for name, control in evidence.controls.items()}
    # Where noise was not measured, a run that does not repeat itself explains different bits beside any neighbours.
    confirmed = evidence.repeats is not None or controls.get("run_to_run") is ControlResult.EQUAL
    if controls.get("neighbours") is ControlResult.DIFFERS and confirmed:
        first = evidence.controls["neighbours"].first
        where = f", first in {first}" if first else ""
        return Assessment(judgement=Judgement.LEAK, outcome=f"a row's bits depend on what its neighbours hold{where}")
    if evidence.unstable or controls.get("run_to_run") is ControlResult.DIFFERS:
        return Assessment(
            judgement=Judgement.NOT_REPEATABLE,
            outcome=f"the same run, repeated, gives different bits; {outcome}",
            settle=_steadier(evidence),
        )
    if contradicted:
        return Assessment(
            judgement=Judgement.CANNOT_TELL,
            outcome=f"{outcome}; a prediction of equal bits was contradicted",
            settle="please report this: the rule that promised equal bits is wrong",
        )
    known = [bits for bits in evidence.logits.values() if bits is not None]
    if not known:
        return Assessment(judgement=Judgement.CANNOT_TELL, outcome=outcome, settle=_BY_CAPTURE)
    if all(bits.equal for bits in known):
        return Assessment(judgement=Judgement.NO_DIFFERENCE, outcome=outcome)
    question = _open_question(evidence, controls)
    if question is not None:
        why, settle = question
        return Assessment(judgement=Judgement.CANNOT_TELL, outcome=f"{outcome}; {why}", settle=settle)
    return Assessment(judgement=Judgement.EXPECTED, outcome=outcome)


def _open_question(evidence: RunEvidence, controls: Mapping[str, ControlResult]) -> tuple[str, str] | None:
    """Return why a difference of logits cannot be called expected, and what would settle that; None where it can."""
    for name, settle in _AFTER_CONTROL.items():
        if controls.get(name) is ControlResult.DIFFERS:
            return f"the control '{CONTROL_NAMES[name]}' found different bits", settle
    missing = [CONTROL_NAMES[name] for name in _NEEDED if controls.get(name) is not ControlResult.EQUAL]
    if missing:
        return f"whether a fault could explain it is open: {listing(missing)} not controlled", _BY_CAPTURE
    if not evidence.origins:
        return "yet no replayed module gives different bits", _BETWEEN_MODULES
    if evidence.repair is not None and not evidence.repair.logits_equal:
        return "yet computing every module row by row does not make the logits bit-identical", _BETWEEN_MODULES
    far = [phase for phase, near in near_ties(evidence.tokens, evidence.moves).items() if near is False]
    if far:
        return f"the token that flipped in {listing(far)} was no near tie", _AT_THE_FLIP
    return None


def _steadier(evidence: RunEvidence) -> str:
    """Return what makes the run repeat itself, as far as it was tried."""
    if evidence.steady_attentions:
        first, *others = evidence.steady_attentions
        more = f" (or {', '.join(others)})" if others else ""
        return f"with `--attention {first}`{more} it repeats itself"
    if evidence.steady_attentions is not None:
        return "no other attention backend makes it repeat itself"
    if any("attn" in each.module or "attention" in each.module for each in evidence.unstable):
        return "measure with another attention backend (`--attention flash`)"
    return "`tracediff determinism` measures which operations vary here"


def _judge_comparable(diff: TraceDiff) -> Assessment:
    """Judge by the traces alone, where they are of the same work: nothing was measured."""
    machine = other_machine(diff)
    work = other_work(diff)
    if work:
        return Assessment(
            judgement=Judgement.CANNOT_TELL,
            outcome=f"the traces differ in more than the batch size: {listing(map(str, (*work, *machine)))}",
            settle="compare two traces of one model, element type and prompt",
        )
    found = _judge_traces(diff)
    if machine:
        return replace(found, outcome=f"{found.outcome}; the traces also differ in {listing(map(str, machine))}")
    return found


def _judge_traces(diff: TraceDiff) -> Assessment:
    changed, unknown = diff.verdicts[Verdict.ORDER_CHANGED], diff.verdicts[Verdict.UNKNOWN]
    left_out = sum(each.kernels for each in diff.not_compared if each.weighs)
    if unknown:
        not_judged = f"{unknown:,} of {len(diff.rows):,} modules cannot be judged"
        one_sided = sum(not row.a or not row.b for row in diff.rows)
        if one_sided:
            not_judged += f" ({one_sided:,} ran in one trace only)"
        # One change of order is no account of a comparison that is mostly unknown.
        mostly = 2 * unknown > len(diff.rows)
        return Assessment(
            judgement=Judgement.EXPECTED if changed and not mostly else Judgement.CANNOT_TELL,
            outcome=f"bits can differ; {not_judged}" if changed else not_judged,
            settle=_how_to_measure(diff),
            modules_open=mostly or not changed,
        )
    if changed:
        return Assessment(judgement=Judgement.EXPECTED, outcome="bits can differ", settle=_how_to_measure(diff))
    if left_out:
        return Assessment(
            judgement=Judgement.CANNOT_TELL,
            outcome=f"no difference in what was compared, but {left_out:,} kernels were not compared",
            settle="compare the phases they ran in, or record both runs alike",
        )
    if diff.verdicts[Verdict.SAME_KERNELS] == len(diff.rows):
        return Assessment(judgement=Judgement.NO_DIFFERENCE, outcome="the same kernels, launched alike")
    return Assessment(judgement=Judgement.NO_DIFFERENCE, outcome="every sum keeps its order" + _unmoved(diff))


def _how_to_measure(diff: TraceDiff) -> str:
    """Return how bits can be measured: by a capture where a capture recorded both, else by the program itself."""
    return _BY_CAPTURE if all(side.info.captured for side in (diff.a, diff.b)) else _BY_THE_PROGRAM


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
        return f"logits differ, a different token is chosen in {listing(flipped)}"
    return "logits differ, no token flipped" if evidence.tokens else "logits differ"


def _unmoved(diff: TraceDiff) -> str:
    """Say what changed all the same, where nothing came of it."""
    renamed = sum(row.names_differ for row in diff.rows)
    return f", though {renamed:,} of {len(diff.rows):,} modules run different kernels" if renamed else ""
