"""The questions that tell a change of reduction order from a fault, each answered from what a folder holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tracediff.findings.facts import Facts, OriginOrder
from tracediff.findings.flips_summary import Summary, summarise
from tracediff.findings.sampler import SamplerReport
from tracediff.measured import CAPTURED_FLIPS_FILE, PairEvidence
from tracediff.text import count

_Found = TypeVar("_Found")

KEEPS_BITS = frozenset({"same-order", "same-kernels"})
_FORWARD = "model forward"


class Reply(StrEnum):
    """The answer to one question."""

    YES = "yes"
    NO = "no"
    CANNOT_TELL = "cannot tell"
    NOTHING = "nothing to ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        text: In plain words.
        reply: The answer.
        because: The evidence, in one sentence.
    """

    text: str
    reply: Reply
    because: str


def pairs_of(facts: Facts) -> tuple[PairEvidence, ...]:
    """Return the measured pairs of batch sizes."""
    return () if facts.evidence is None else facts.evidence.pairs


def runs_repeat(facts: Facts) -> Question:
    """Ask whether a run repeats its bits: of repeats, flip searches, or the control of the capture."""
    question = "Does the same run give the same bits again?"
    varies = _repeats_that_vary(facts) or _searches_that_vary(facts)
    if varies is not None:
        return Question(text=question, reply=Reply.NO, because=varies)
    stored = _control(facts, "run_to_run", question)
    if _is_stored(facts, "run_to_run"):
        return stored
    repeated = [name for name, _ in _own_controls(facts.flips)] + [
        name for name, result in facts.determinism if any(row.operation == _FORWARD for row in result.rows)
    ]
    if repeated:
        return Question(text=question, reply=Reply.YES, because=f"a forward repeated its bits ({', '.join(repeated)})")
    return stored


def _repeats_that_vary(facts: Facts) -> str | None:
    for name, result in facts.determinism:
        for row in result.rows:
            if row.operation == _FORWARD and row.setting == "default" and row.varies:
                return f"the model's forward ({row.dtype}) gave different bits in run {row.first_different} ({name})"
    return None


def _searches_that_vary(facts: Facts) -> str | None:
    """Name the batch sizes of a search at which the same run twice gave different bits, the base's or another's."""
    for name, found in _own_controls(facts.flips):
        for search in found.searches:
            base = () if search.repeatable else (found.settings.batches[0],)
            noisy = dict.fromkeys((*base, *search.noisy))
            if noisy:
                batches = ", ".join(map(str, noisy))
                return f"the same {search.label} run twice at batch {batches} gives different bits ({name})"
    return None


def _own_controls(named: Iterable[tuple[str, _Found]]) -> list[tuple[str, _Found]]:
    """Leave out the captured run's flips: a search runs controls of its own, they only repeat the evidence's."""
    return [(name, found) for name, found in named if name != CAPTURED_FLIPS_FILE]


def _is_stored(facts: Facts, name: str) -> bool:
    """Whether the capture ran a control: a search of flips never overrules what it found, nor that it cannot tell."""
    return facts.evidence is not None and name in facts.evidence.controls


def _control(facts: Facts, name: str, question: str) -> Question:
    control = None if facts.evidence is None else facts.evidence.controls.get(name)
    words = name.replace("_", " ")
    if control is None:
        return Question(text=question, reply=Reply.CANNOT_TELL, because=f"the control '{words}' was not run")
    if control.equal is None:
        because = control.why or f"the control '{words}' could not be run"
        return Question(text=question, reply=Reply.CANNOT_TELL, because=because)
    if control.equal:
        return Question(text=question, reply=Reply.YES, because=f"{control.compared}: equal bits")
    where = f", first in {control.first}" if control.first else ""
    return Question(text=question, reply=Reply.NO, because=f"{control.compared}: different bits{where}")


def rows_keep_bits_among_others(facts: Facts) -> Question:
    """Ask whether a row's bits depend on what the other rows hold."""
    return _control(facts, "neighbours", "Does a row keep its bits when its neighbours hold something else?")


def rows_keep_bits_elsewhere(facts: Facts) -> Question:
    """Ask whether a row's bits depend on its place in the batch."""
    question = "Does a row keep its bits at another place in the batch?"
    summaries = _own_controls(searches_of(facts))
    for name, summary in summaries:
        if not summary.rows_agree:
            because = (
                f"equal rows of one batch differ in bits ({summary.precision}, batch {summary.batch}, {name}): a "
                "kernel that treats edge rows otherwise does this, and so does an indexing fault"
            )
            return Question(text=question, reply=Reply.NO, because=because)
    if summaries and not _is_stored(facts, "position"):
        return Question(text=question, reply=Reply.YES, because="all rows of a batch of copies have the same bits")
    return _control(facts, "position", question)


def sampler_is_exact(report: SamplerReport | None) -> Question:
    """Ask whether the sampler returned the argmax in every case that was tried."""
    question = "Does the sampler take the largest raw logit at temperature 0?"
    if report is None:
        because = "no sampler was given (--sampler module:function); tokens here are the argmax of raw logits"
        return Question(text=question, reply=Reply.CANNOT_TELL, because=because)
    wrong = [result for result in report.results if result.problem is not None]
    if wrong:
        first = wrong[0]
        because = f"{report.sampler}, {first.dtype}, {first.name}: {first.problem} ({len(wrong)} cases fail)"
        return Question(text=question, reply=Reply.NO, because=because)
    because = f"{report.sampler} returned the argmax in all {len(report.results)} cases"
    return Question(text=question, reply=Reply.YES, because=because)


def logits_differ(facts: Facts) -> Question:
    """Ask whether any logits that were compared differ in bits."""
    question = "Do logits differ between batch sizes?"
    differing = [
        f"batch {pair.batches[1]}, {phase}"
        for pair in pairs_of(facts)
        for phase, bits in pair.logits.items()
        if bits is not None and not bits.equal
    ]
    compared = any(bits is not None for pair in pairs_of(facts) for bits in pair.logits.values())
    searched = [
        f"{summary.precision}, batch {summary.batch} ({name})"
        for name, summary in searches_of(facts)
        if summary.equal_steps < summary.steps
    ]
    if differing or searched:
        return Question(text=question, reply=Reply.YES, because=f"first in {(differing + searched)[0]}")
    if compared or facts.flips:
        return Question(text=question, reply=Reply.NO, because="all logits that were measured have equal bits")
    return Question(text=question, reply=Reply.CANNOT_TELL, because="no logits were compared")


def origin_was_found(facts: Facts) -> Question:
    """Ask for the first module that gives different bits on equal inputs."""
    question = "Was the first module that differs on equal inputs found?"
    origins = [pair.first_origin for pair in pairs_of(facts) if pair.first_origin is not None]
    if origins:
        phase, module = origins[0]
        return Question(text=question, reply=Reply.YES, because=f"{module} in {phase}")
    differing = [
        pair for pair in pairs_of(facts) if any(bits is not None and not bits.equal for bits in pair.logits.values())
    ]
    if differing and all(_noise_explains(pair) for pair in differing):
        because = (
            "with the modules that vary held to what batch 1 gave, the logits are bit-identical: it is noise alone"
        )
        return Question(text=question, reply=Reply.NOTHING, because=because)
    if differing and any(map(_replayed, differing)):
        because = "the logits differ and no replayed module does"
        return Question(text=question, reply=Reply.NO, because=because)
    if not differing and any(bits is not None for pair in pairs_of(facts) for bits in pair.logits.values()):
        because = "all logits that were measured have equal bits"
        return Question(text=question, reply=Reply.NOTHING, because=because)
    because = "no difference of logits was replayed (tracediff capture --evidence does it)"
    return Question(text=question, reply=Reply.CANNOT_TELL, because=because)


def _replayed(pair: PairEvidence) -> bool:
    """Whether modules of a pair were computed on equal inputs."""
    return any(bits.isolated is not None for modules in pair.modules.values() for bits in modules.values())


def _noise_explains(pair: PairEvidence) -> bool:
    """Whether pinning the modules that vary by themselves makes all logits of a pair equal."""
    known = [bits for bits in pair.pinned_logits.values() if bits is not None]
    return bool(known) and all(bits.equal for bits in known)


def order_changed(facts: Facts) -> Question:
    """Ask whether the traces, and the repair, put the difference down to the order of summation."""
    question = "Is it the order of summation that changed there?"
    contradicted = [order for order in facts.orders if order.verdict in KEEPS_BITS]
    if contradicted:
        one = contradicted[0]
        because = (
            f"{one.module} gives different bits on equal inputs though the trace says {one.verdict} ({one.reason})"
        )
        return Question(text=question, reply=Reply.NO, because=because)
    if not any(map(_replayed, pairs_of(facts))):
        because = "no module was computed on equal inputs (tracediff capture --evidence does it)"
        return Question(text=question, reply=Reply.CANNOT_TELL, because=because)
    if not any(pair.first_origin for pair in pairs_of(facts)):
        because = "no replayed module gives different bits on equal inputs"
        return Question(text=question, reply=Reply.NOTHING, because=because)
    changed = [order for order in facts.orders if order.verdict == "order-changed"]
    seen = _order_words(facts.orders, changed) or "no traces say what changed at the origin"
    repairs = [(pair.batches[1], pair.repair) for pair in pairs_of(facts) if pair.repair is not None]
    repaired = [
        f"batch {batch}: {', '.join(repair.minimal)}"
        for batch, repair in repairs
        if repair.logits_equal and repair.minimal
    ]
    because = seen
    if repaired:
        because += f"; computed row by row, as at batch 1, these make the logits bit-identical ({'; '.join(repaired)})"
    # All of them changed their order, or some did and the rest is repaired by computing rows one by one.
    told = bool(changed) and (len(changed) == len(facts.orders) or len(repaired) == len(repairs) > 0)
    return Question(text=question, reply=Reply.YES if told else Reply.CANNOT_TELL, because=because)


def _order_words(orders: tuple[OriginOrder, ...], changed: list[OriginOrder]) -> str:
    """Say at how many origins the traces show a different order, with the commonest changes; empty without traces."""
    if not orders:
        return ""
    kinds = Counter(f"{order.module.rpartition('.')[2]} {order.reason}" for order in changed)
    commonest = ", ".join(kind for kind, _ in kinds.most_common(3))
    others = f" and {len(kinds) - 3} more" if len(kinds) > 3 else ""
    examples = f" ({commonest}{others})" if kinds else ""
    unknown = len(orders) - len(changed)
    rest = f" and cannot tell at {unknown}" if unknown else ""
    return f"the traces show a different order at {len(changed):,} of {count(len(orders), 'origin')}{examples}{rest}"


def searches_of(facts: Facts) -> list[tuple[str, Summary]]:
    """Return what the flip searches found, by file name: a summary per precision and batch size."""
    return [(name, summary) for name, result in facts.flips for summary in summarise(result)]
