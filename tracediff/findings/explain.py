"""Is it a bug? The questions that tell a change of reduction order from a fault, over everything a folder holds.

The judgement of each pair of batch sizes is that of its `Answer`; flip searches, repeats and a check of the sampler can
only make it graver or leave it open. Each question is answered yes, no, cannot tell, or that there is nothing to ask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from tracediff.diff.judgement import Judgement, judge_evidence
from tracediff.findings.facts import Facts, OriginOrder
from tracediff.findings.flips import FlipsResult
from tracediff.findings.flips_file import flip_to_json
from tracediff.findings.flips_summary import Summary, nearest_flips, summarise
from tracediff.findings.sampler import SamplerReport
from tracediff.measured import CAPTURED_FLIPS_FILE, PairEvidence, State
from tracediff.text import count

_Found = TypeVar("_Found")

# Two orders of rounding are about equally far from float32; a batch size this much farther away does more than round.
_FARTHEST_RATIO = 2.0

#: Gravest first.
_GRAVITY = (
    Judgement.LEAK,
    Judgement.SAMPLER,
    Judgement.NOT_REPEATABLE,
    Judgement.CANNOT_TELL,
    Judgement.EXPECTED,
    Judgement.NO_DIFFERENCE,
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The judgement and how it was reached.

    Attributes:
        judgement: The gravest of all that was found.
        because: Why, in one sentence.
        questions: In the order in which they were asked.
        cannot_know: What this evidence does not show, one sentence each.
        flips: Searches in which tokens flipped, the captured run first, by file name.
    """

    judgement: Judgement
    because: str
    questions: tuple[Question, ...]
    cannot_know: tuple[str, ...]
    flips: tuple[tuple[str, FlipsResult], ...] = ()

    @property
    def headline(self) -> str:
        """The judgement in one line."""
        return f"{self.judgement}: {self.because}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": 3,
            "kind": "explanation",
            "judgement": str(self.judgement),
            "because": self.because,
            "questions": [
                {"question": each.text, "answer": str(each.reply), "because": each.because} for each in self.questions
            ],
            "cannot_know": list(self.cannot_know),
            "flips": [
                {"file": name, "precision": search.label, **flip_to_json(flip)}
                for name, result in self.flips
                for search, flip in nearest_flips(result)
            ],
        }


def explain(facts: Facts, sampler: SamplerReport | None = None) -> Explanation:
    """Ask every question and judge.

    Args:
        facts: What a capture directory holds.
        sampler: What a check of the sampler found; None where none was checked.
    """
    runs, exact, margin = _run_to_run(facts), _sampler(sampler), _margin(facts)
    rows = _control(facts, "neighbours", "Does a row keep its bits when its neighbours hold something else?")
    questions = (runs, rows, _position(facts), exact, _differs(facts), _origin(facts), _order(facts), margin)
    found = [*_pair_judgements(facts), *_beyond_the_pairs(facts, runs, exact, margin)]
    judgement, because = min(found, key=lambda each: _GRAVITY.index(each[0]))
    return Explanation(
        judgement=judgement,
        because=because,
        questions=questions,
        cannot_know=_cannot_know(facts, sampler),
        flips=_with_flips(facts),
    )


def _with_flips(facts: Facts) -> tuple[tuple[str, FlipsResult], ...]:
    found = [(name, result) for name, result in facts.flips if any(search.flips for search in result.searches)]
    return tuple(sorted(found, key=lambda each: each[0] != CAPTURED_FLIPS_FILE))


def _pair_judgements(facts: Facts) -> list[tuple[Judgement, str]]:
    """Judge each pair of batch sizes as `tracediff diff` does."""
    found = []
    for pair in _pairs(facts):
        assert facts.evidence is not None
        origins = [
            module for modules in pair.modules.values() for module in modules.values() if module.state is State.ORIGIN
        ]
        orders = [order for order in facts.orders if order.batch == pair.batches[1]]
        contradicted = sum(order.verdict in _KEEPS_BITS for order in orders)
        assessed = judge_evidence(facts.evidence.run(pair, pair.batches[0]), len(origins), contradicted)
        where = f"batch {pair.batches[0]} → {pair.batches[1]}: {assessed.outcome}"
        if assessed.judgement is Judgement.EXPECTED and pair.first_origin is not None:
            phase, module = pair.first_origin
            where += f"; the difference begins in {module} ({phase})"
        if assessed.settle:
            where += f" ({assessed.settle})"
        found.append((assessed.judgement, where))
    return found


_KEEPS_BITS = frozenset({"same-order", "same-kernels"})


def _beyond_the_pairs(facts: Facts, runs: Question, exact: Question, margin: Question) -> list[tuple[Judgement, str]]:
    """Judge what only flip searches, repeats and the sampler's check can tell."""
    found = []
    if exact.reply is Reply.NO:
        found.append((Judgement.SAMPLER, exact.because))
    if runs.reply is Reply.NO:
        found.append((Judgement.NOT_REPEATABLE, runs.because))
    if margin.reply is Reply.NO:
        found.append((Judgement.CANNOT_TELL, margin.because))
    if not _pairs(facts):
        missing = "no module was replayed and no control made: `tracediff capture --evidence` does both"
        found.append((Judgement.CANNOT_TELL, missing))
    return found


def _run_to_run(facts: Facts) -> Question:
    question = "Does the same run give the same bits again?"
    for name, result in facts.determinism:
        for row in result.rows:
            if row.operation == "model forward" and row.setting == "default" and row.varies:
                because = f"the model's forward ({row.dtype}) gave other bits in run {row.first_different} ({name})"
                return Question(text=question, reply=Reply.NO, because=because)
    searches = _own_controls(facts.flips)
    for name, found in searches:
        for search in found.searches:
            if not search.repeatable:
                because = f"the same {search.label} run twice at batch {found.settings.batches[0]} differs ({name})"
                return Question(text=question, reply=Reply.NO, because=because)
    stored = _control(facts, "run_to_run", question)
    if stored.reply is not Reply.CANNOT_TELL:
        return stored
    repeated = [name for name, result in searches if result.searches] + [
        name for name, result in facts.determinism if any(row.operation == "model forward" for row in result.rows)
    ]
    if repeated:
        return Question(text=question, reply=Reply.YES, because=f"a forward repeated its bits ({', '.join(repeated)})")
    return stored


def _own_controls(named: Iterable[tuple[str, _Found]]) -> list[tuple[str, _Found]]:
    """Leave out the captured run's flips: a search makes controls of its own, they only repeat the evidence's."""
    return [(name, found) for name, found in named if name != CAPTURED_FLIPS_FILE]


def _control(facts: Facts, name: str, question: str) -> Question:
    control = None if facts.evidence is None else facts.evidence.controls.get(name)
    words = name.replace("_", " ")
    if control is None:
        return Question(text=question, reply=Reply.CANNOT_TELL, because=f"the control '{words}' was not measured")
    if control.equal is None:
        because = control.why or f"the control '{words}' could not be made"
        return Question(text=question, reply=Reply.CANNOT_TELL, because=because)
    if control.equal:
        return Question(text=question, reply=Reply.YES, because=f"{control.compared}: equal bits")
    where = f", first in {control.first}" if control.first else ""
    return Question(text=question, reply=Reply.NO, because=f"{control.compared}: other bits{where}")


def _position(facts: Facts) -> Question:
    question = "Does a row keep its bits at another place in the batch?"
    stored = _control(facts, "position", question)
    if stored.reply is not Reply.CANNOT_TELL:
        return stored
    summaries = _own_controls(_summaries(facts))
    for name, summary in summaries:
        if not summary.rows_agree:
            because = (
                f"equal rows of one batch differ in bits ({summary.precision}, batch {summary.batch}, {name}): a "
                "kernel that treats edge rows otherwise does this, and so does an indexing fault"
            )
            return Question(text=question, reply=Reply.NO, because=because)
    if summaries:
        return Question(text=question, reply=Reply.YES, because="all rows of a batch of copies have the same bits")
    return stored


def _sampler(report: SamplerReport | None) -> Question:
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


def _differs(facts: Facts) -> Question:
    question = "Do logits differ between batch sizes?"
    differing = [
        f"batch {pair.batches[1]}, {phase}"
        for pair in _pairs(facts)
        for phase, bits in pair.logits.items()
        if bits is not None and not bits.equal
    ]
    compared = any(bits is not None for pair in _pairs(facts) for bits in pair.logits.values())
    searched = [
        f"{summary.precision}, batch {summary.batch} ({name})"
        for name, summary in _summaries(facts)
        if summary.equal_steps < summary.steps
    ]
    if differing or searched:
        return Question(text=question, reply=Reply.YES, because=f"first in {(differing + searched)[0]}")
    if compared or facts.flips:
        return Question(text=question, reply=Reply.NO, because="all logits that were measured have equal bits")
    return Question(text=question, reply=Reply.CANNOT_TELL, because="no logits were compared")


def _origin(facts: Facts) -> Question:
    question = "Was the first module that differs on equal inputs found?"
    origins = [pair.first_origin for pair in _pairs(facts) if pair.first_origin is not None]
    if origins:
        phase, module = origins[0]
        return Question(text=question, reply=Reply.YES, because=f"{module} in {phase}")
    differing = [
        pair for pair in _pairs(facts) if any(bits is not None and not bits.equal for bits in pair.logits.values())
    ]
    if differing and all(_noise_explains(pair) for pair in differing):
        because = (
            "with the modules that vary held to what batch 1 gave, the logits are bit-identical: it is noise alone"
        )
        return Question(text=question, reply=Reply.NOTHING, because=because)
    if differing and any(map(_replayed, differing)):
        because = "the logits differ and no replayed module does"
        return Question(text=question, reply=Reply.NO, because=because)
    if not differing and any(bits is not None for pair in _pairs(facts) for bits in pair.logits.values()):
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


def _order(facts: Facts) -> Question:
    question = "Is it the order of summation that changed there?"
    contradicted = [order for order in facts.orders if order.verdict in _KEEPS_BITS]
    if contradicted:
        one = contradicted[0]
        because = f"{one.module} gives other bits on equal inputs though the trace says {one.verdict} ({one.reason})"
        return Question(text=question, reply=Reply.NO, because=because)
    if not any(map(_replayed, _pairs(facts))):
        because = "no module was computed on equal inputs (tracediff capture --evidence does it)"
        return Question(text=question, reply=Reply.CANNOT_TELL, because=because)
    if not any(pair.first_origin for pair in _pairs(facts)):
        because = "no replayed module gives other bits on equal inputs"
        return Question(text=question, reply=Reply.NOTHING, because=because)
    changed = [order for order in facts.orders if order.verdict == "order-changed"]
    seen = _order_words(facts.orders, changed) or "no traces say what changed at the origin"
    repairs = [(pair.batches[1], pair.repair) for pair in _pairs(facts) if pair.repair is not None]
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
    """Say at how many origins the traces show another order, with the commonest changes; empty without traces."""
    if not orders:
        return ""
    kinds = Counter(f"{order.module.rpartition('.')[2]} {order.reason}" for order in changed)
    commonest = ", ".join(kind for kind, _ in kinds.most_common(3))
    others = f" and {len(kinds) - 3} more" if len(kinds) > 3 else ""
    examples = f" ({commonest}{others})" if kinds else ""
    unknown = len(orders) - len(changed)
    rest = f" and cannot tell at {unknown}" if unknown else ""
    return f"the traces show another order at {len(changed):,} of {count(len(orders), 'origin')}{examples}{rest}"


def _margin(facts: Facts) -> Question:
    question = "Is every flipped token a near tie?"
    summaries = _summaries(facts)
    for name, summary in summaries:
        ratio = _ratio(summary)
        if ratio is not None and ratio > _FARTHEST_RATIO:
            because = (
                f"batch {summary.batch} and batch {summary.base} are not equally far from float32: {ratio:.1f} times "
                f"({summary.precision}, {name}); another order of rounding does not do that"
            )
            return Question(text=question, reply=Reply.NO, because=because)
    flipping = [summary for _, summary in summaries if summary.flips]
    # The flips of the captured run stand in the evidence, and where they were kept with their logits, in a file.
    kept = any(name == CAPTURED_FLIPS_FILE for name, _ in facts.flips)
    near = [] if kept else [near for pair in _pairs(facts) for near in _flips_of_the_run(pair)]
    flips = sum(summary.flips for summary in flipping) + len(near)
    if not flips:
        compared = bool(summaries or any(pair.tokens for pair in _pairs(facts)))
        because = "no token flipped in what was measured" if compared else "no token was compared"
        return Question(text=question, reply=Reply.NOTHING if compared else Reply.CANNOT_TELL, because=because)
    far = sum(summary.unexplained for summary in flipping) + near.count(False)
    if far:
        because = f"{far:,} of {count(flips, 'flip')} had a margin larger than what the two logits moved"
        return Question(text=question, reply=Reply.NO, because=because)
    if None in near:
        because = "a token flipped, and how far its logits moved was not measured"
        return Question(text=question, reply=Reply.CANNOT_TELL, because=because)
    because = f"of {count(flips, 'flip')} none had a margin larger than what the two logits moved"
    return Question(text=question, reply=Reply.YES, because=because)


def _flips_of_the_run(pair: PairEvidence) -> list[bool | None]:
    """Return for each token that flipped in the captured run whether it was a near tie; None where not measured."""
    return [
        pair.moves[phase].near_tie if phase in pair.moves else None for phase, (a, b) in pair.tokens.items() if a != b
    ]


def _pairs(facts: Facts) -> tuple[PairEvidence, ...]:
    return () if facts.evidence is None else facts.evidence.pairs


def _summaries(facts: Facts) -> list[tuple[str, Summary]]:
    """Return what the flip searches found in the captured dtype, or in every dtype without a capture."""
    dtype = None if facts.evidence is None else facts.evidence.dtype
    summaries = [(name, summary) for name, result in facts.flips for summary in summarise(result)]
    return [(name, summary) for name, summary in summaries if dtype is None or summary.precision == dtype]


def _ratio(summary: Summary) -> float | None:
    """Return how many times farther one batch size is from float32 than the other; None without a reference."""
    if not summary.error_base or not summary.error_other:
        return None
    return max(summary.error_other / summary.error_base, summary.error_base / summary.error_other)


def _cannot_know(facts: Facts, sampler: SamplerReport | None) -> tuple[str, ...]:
    sentences = list(facts.notes)
    if sampler is None:
        sentences.append("whether the sampler that served the text is exact: none was given")
    profiler = None if facts.evidence is None else facts.evidence.controls.get("profiler")
    if facts.evidence is not None and (profiler is None or profiler.equal is None):
        why = None if profiler is None else profiler.why
        sentences.append(f"whether recording changed the outputs: {why or 'that control was not made'}")
    if facts.random_weights or any(result.settings.random_weights for _, result in facts.flips):
        sentences.append("how often a trained model flips: these weights are random, and margins are not those of one")
    sentences.append("what a server adds (scheduling, paged caches, its own kernels): this was measured in one process")
    sentences.append("other prompts, batch sizes, GPUs and library versions than those measured")
    return tuple(sentences)
