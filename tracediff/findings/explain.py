"""Bug or not: walk the questions that tell a change of reduction order from a fault. Pure: facts in, verdict out.

The same prompt at another batch size may give other bits because sums are taken in another order; that is expected and
every kernel library does it. What is never expected: bits that change from run to run, a row that depends on what its
neighbours hold, a sampler that does not take the largest logit at temperature 0. Each question is answered yes, no, or
unknown where nothing was measured, and the first suspicion found wins, gravest first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tracediff.findings.facts import Facts, OriginOrder
from tracediff.findings.flips_summary import Summary, summarise
from tracediff.findings.sampler import SamplerReport
from tracediff.measured import PairEvidence

# Two orders of rounding stand about equally far from float32; a batch size this much farther away does more than round.
_FARTHEST_RATIO = 2.0
# Without a float32 reference: a convention for "a near tie", in ULP of the logits' dtype.
_NEAR_TIE_ULP = 32.0


class Verdict(StrEnum):
    """What the evidence amounts to."""

    EXPECTED = "expected: reduction order"
    SUSPECT_ROWS = "suspect: data dependence between rows"
    SUSPECT_SAMPLER = "suspect: sampler"
    SUSPECT_RUNS = "suspect: nondeterminism run to run"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question.

    Attributes:
        question: In plain words.
        answer: True, False, or None where nothing was measured.
        because: The evidence, in one sentence.
    """

    question: str
    answer: bool | None
    because: str

    @property
    def word(self) -> str:
        """The answer as shown."""
        return {True: "yes", False: "no", None: "unknown"}[self.answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The verdict and how it was reached.

    Attributes:
        verdict: What the evidence amounts to.
        because: Why, in one sentence.
        checks: The questions in the order they were asked.
        cannot_know: What this evidence does not show, one sentence each.
    """

    verdict: Verdict
    because: str
    checks: tuple[Check, ...]
    cannot_know: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if self.verdict is Verdict.INCONCLUSIVE:
            return f"{self.verdict} because {self.because}"
        return f"{self.verdict} ({self.because})"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": 1,
            "kind": "explanation",
            "verdict": str(self.verdict),
            "because": self.because,
            "checks": [
                {"question": check.question, "answer": check.word, "because": check.because} for check in self.checks
            ],
            "cannot_know": list(self.cannot_know),
        }


def explain(facts: Facts, sampler: SamplerReport | None = None) -> Explanation:
    """Walk the decision.

    Args:
        facts: What a capture directory holds.
        sampler: What a check of the sampler found; None where none was checked.
    """
    runs = _run_to_run(facts)
    rows = _control(facts, "neighbours", "Does a row keep its bits when its neighbours hold something else?")
    place = _position(facts)
    exact = _sampler(sampler)
    differs = _differs(facts)
    origin = _origin(facts)
    order = _order(facts)
    margin = _margin(facts)
    checks = (runs, rows, place, exact, differs, origin, order, margin)
    verdict, because = _decide(runs, rows, place, exact, differs, origin, order, margin)
    return Explanation(verdict=verdict, because=because, checks=checks, cannot_know=_cannot_know(facts, sampler))


def _decide(
    runs: Check, rows: Check, place: Check, exact: Check, differs: Check, origin: Check, order: Check, margin: Check
) -> tuple[Verdict, str]:
    for check, suspicion in (
        (runs, Verdict.SUSPECT_RUNS),
        (rows, Verdict.SUSPECT_ROWS),
        (exact, Verdict.SUSPECT_SAMPLER),
    ):
        if check.answer is False:
            return suspicion, check.because
    if differs.answer is False:
        return Verdict.INCONCLUSIVE, f"there is nothing to explain: {differs.because}"
    needed = (runs, rows, differs, origin, order, margin)
    against = [check.because for check in (place, *needed) if check.answer is False]
    if against:
        return Verdict.INCONCLUSIVE, against[0]
    unknown = [check for check in needed if check.answer is None]
    if unknown:
        return Verdict.INCONCLUSIVE, "; ".join(check.because for check in unknown)
    return (
        Verdict.EXPECTED,
        f"no control failed, and the order of summation changed where the difference begins, {origin.because}; "
        f"{margin.because}",
    )


def _run_to_run(facts: Facts) -> Check:
    question = "Does the same run give the same bits again?"
    for name, result in facts.determinism:
        for row in result.rows:
            if row.operation == "model forward" and row.setting == "default" and row.varies:
                because = f"the model's forward ({row.dtype}) gave other bits in run {row.first_different} ({name})"
                return Check(question=question, answer=False, because=because)
    for name, found in facts.flips:
        for search in found.searches:
            if not search.repeatable:
                because = f"the same {search.label} run twice at batch {found.settings.batches[0]} differs ({name})"
                return Check(question=question, answer=False, because=because)
    stored = _control(facts, "run_to_run", question)
    if stored.answer is not None:
        return stored
    repeated = [name for name, result in facts.flips if result.searches] + [
        name for name, result in facts.determinism if any(row.operation == "model forward" for row in result.rows)
    ]
    if repeated:
        return Check(question=question, answer=True, because=f"a forward repeated its bits ({', '.join(repeated)})")
    return stored


def _control(facts: Facts, name: str, question: str) -> Check:
    control = None if facts.evidence is None else facts.evidence.controls.get(name)
    words = name.replace("_", " ")
    if control is None or control.equal is None:
        return Check(question=question, answer=None, because=f"the control '{words}' was not measured")
    if control.equal:
        return Check(question=question, answer=True, because=f"{control.compared}: equal bits")
    where = f", first in {control.first}" if control.first else ""
    size = f", up to {control.max_ulp:,} ULP" if control.max_ulp else ""
    return Check(question=question, answer=False, because=f"{control.compared}: other bits{where}{size}")


def _position(facts: Facts) -> Check:
    question = "Does a row keep its bits at another place in the batch?"
    stored = _control(facts, "position", question)
    if stored.answer is not None:
        return stored
    summaries = _summaries(facts)
    for name, summary in summaries:
        if not summary.rows_agree:
            because = (
                f"equal rows of one batch differ in bits ({summary.precision}, batch {summary.batch}, {name}): a "
                "kernel that treats edge rows otherwise does this, and so does an indexing fault"
            )
            return Check(question=question, answer=False, because=because)
    if summaries:
        return Check(question=question, answer=True, because="all rows of a batch of copies have the same bits")
    return stored


def _sampler(report: SamplerReport | None) -> Check:
    question = "Does the sampler take the largest raw logit at temperature 0?"
    if report is None:
        because = "no sampler was given (--sampler module:function); tokens here are the argmax of raw logits"
        return Check(question=question, answer=None, because=because)
    wrong = [result for result in report.results if result.problem is not None]
    if wrong:
        first = wrong[0]
        because = f"{report.sampler}, {first.dtype}, {first.name}: {first.problem} ({len(wrong)} cases fail)"
        return Check(question=question, answer=False, because=because)
    because = f"{report.sampler} returned the argmax in all {len(report.results)} cases"
    return Check(question=question, answer=True, because=because)


def _differs(facts: Facts) -> Check:
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
        return Check(question=question, answer=True, because=f"first in {(differing + searched)[0]}")
    if compared or facts.flips:
        return Check(question=question, answer=False, because="all logits that were measured have equal bits")
    return Check(question=question, answer=None, because="no logits were compared")


def _origin(facts: Facts) -> Check:
    question = "Was the first module that differs on equal inputs found?"
    origins = [pair.first_origin for pair in _pairs(facts) if pair.first_origin is not None]
    if origins:
        phase, module = origins[0]
        return Check(question=question, answer=True, because=f"{module} in {phase}")
    if any(bits is not None and not bits.equal for pair in _pairs(facts) for bits in pair.logits.values()):
        because = "the logits differ and no replayed module does"
        return Check(question=question, answer=False, because=because)
    because = "no difference of logits was replayed (tracediff capture --evidence does it)"
    return Check(question=question, answer=None, because=because)


def _order(facts: Facts) -> Check:
    question = "Is it the order of summation that changed there?"
    contradicted = [order for order in facts.orders if order.verdict in {"same-order", "same-kernels"}]
    if contradicted:
        one = contradicted[0]
        because = f"{one.module} gives other bits on equal inputs though the trace says {one.verdict} ({one.reason})"
        return Check(question=question, answer=False, because=because)
    changed = [order for order in facts.orders if order.verdict == "order-changed"]
    seen = _order_words(facts.orders, changed)
    if changed and len(changed) == len(facts.orders):
        return Check(question=question, answer=True, because=seen)
    repairs = [(pair.batches[1], pair.repair) for pair in _pairs(facts) if pair.repair is not None]
    if repairs and all(repair.logits_equal for _, repair in repairs):
        kinds = "; ".join(f"batch {batch}: {', '.join(repair.minimal)}" for batch, repair in repairs)
        repaired = f"computed row by row, as at batch 1, these make the logits bit-identical ({kinds})"
        return Check(question=question, answer=True, because=f"{seen}; {repaired}" if seen else repaired)
    if repairs:
        because = "computing every module row by row does not make the logits bit-identical"
        return Check(question=question, answer=False, because=because)
    because = (
        f"{seen}, and no repair was found" if seen else "neither traces nor a repair say what changed at the origin"
    )
    return Check(question=question, answer=None, because=because)


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
    return f"the traces show another order at {len(changed)} of {len(orders)} origins{examples}{rest}"


def _margin(facts: Facts) -> Check:
    question = "Is every flipped token a near tie?"
    summaries = _summaries(facts)
    for name, summary in summaries:
        ratio = _ratio(summary)
        if ratio is not None and ratio > _FARTHEST_RATIO:
            because = (
                f"batch {summary.batch} and batch {summary.base} are not equally far from float32: {ratio:.1f} times "
                f"({summary.precision}, {name}); another order of rounding does not do that"
            )
            return Check(question=question, answer=False, because=because)
    flipping = [summary for _, summary in summaries if summary.flips]
    flips = sum(summary.flips for summary in flipping) + len(facts.stored_flips)
    if not flips:
        compared = bool(summaries or _pairs(facts))
        because = "no token flipped in what was measured" if compared else "no token was compared"
        return Check(question=question, answer=compared or None, because=because)
    margins = [flip.margin_ulp for flip in facts.stored_flips] + [one.largest_flip_margin_ulp for one in flipping]
    known = [margin for margin in margins if margin is not None]
    if len(known) < len(margins):
        return Check(question=question, answer=None, because="a token flipped and its logits are not stored")
    because = f"the largest margin of {flips} flips is {max(known):.4g} ULP"
    ratios = [_ratio(summary) for summary in flipping]
    if ratios and not facts.stored_flips and None not in ratios:
        because += f", and both batch sizes are about as far from float32 (ratio {max(filter(None, ratios)):.2f})"
        return Check(question=question, answer=True, because=because)
    near = max(known) <= _NEAR_TIE_ULP
    return Check(question=question, answer=near, because=because + ("" if near else ", more than a near tie"))


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
        sentences.append("whether recording changed the outputs: that control was not made")
    if facts.random_weights or any(result.settings.random_weights for _, result in facts.flips):
        sentences.append("how often a trained model flips: these weights are random, and margins are not those of one")
    sentences.append("what a server adds (scheduling, paged caches, its own kernels): this was measured in one process")
    sentences.append("other prompts, batch sizes, GPUs and library versions than those measured")
    return tuple(sentences)
