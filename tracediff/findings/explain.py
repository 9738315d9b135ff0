"""Is it a bug? The questions that tell a change of reduction order from a fault, over everything a folder holds.

The judgement of each pair of batch sizes is that of its `Answer`; flip searches, repeats and a check of the sampler can
only make it graver or leave it open. Each question is answered yes, no, cannot tell, or that there is nothing to ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracediff.diff.judgement import CONTROL_NAMES, Judgement, judge_evidence
from tracediff.diff.words import listing
from tracediff.findings.explain_near_ties import flips_are_near_ties
from tracediff.findings.explain_questions import (
    KEEPS_BITS,
    Question,
    Reply,
    logits_differ,
    order_changed,
    origin_was_found,
    pairs_of,
    rows_keep_bits_among_others,
    rows_keep_bits_elsewhere,
    runs_repeat,
    sampler_is_exact,
)
from tracediff.findings.facts import Facts
from tracediff.findings.flips import FlipsResult
from tracediff.findings.flips_file import flip_to_json
from tracediff.findings.flips_summary import nearest_flips
from tracediff.findings.sampler import SamplerReport
from tracediff.measured import CAPTURED_FLIPS_FILE
from tracediff.text import printable

#: Gravest first.
_GRAVITY = (
    Judgement.LEAK,
    Judgement.SAMPLER,
    Judgement.NOT_REPEATABLE,
    Judgement.CANNOT_TELL,
    Judgement.EXPECTED,
    Judgement.NO_DIFFERENCE,
)


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

    def __repr__(self) -> str:
        """Return one line: the questions hold all evidence."""
        return printable(f"<Explanation {self.headline}>")

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
    runs = runs_repeat(facts)
    neighbours = rows_keep_bits_among_others(facts)
    place = rows_keep_bits_elsewhere(facts)
    exact = sampler_is_exact(sampler)
    margin = flips_are_near_ties(facts)
    questions = (
        runs,
        neighbours,
        place,
        exact,
        logits_differ(facts),
        origin_was_found(facts),
        order_changed(facts),
        margin,
    )
    found = [*_pair_judgements(facts), *_beyond_the_pairs(runs, exact, margin)]
    if not pairs_of(facts):
        found.append((Judgement.CANNOT_TELL, _not_replayed(runs, neighbours, place)))
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
    for pair in pairs_of(facts):
        assert facts.evidence is not None
        orders = [order for order in facts.orders if order.batch == pair.batches[1]]
        contradicted = sum(order.verdict in KEEPS_BITS for order in orders)
        assessed = judge_evidence(facts.evidence.run(pair, pair.batches[0]), contradicted)
        where = f"batch {pair.batches[0]} → {pair.batches[1]}: {assessed.outcome}"
        if assessed.judgement is Judgement.EXPECTED and pair.first_origin is not None:
            phase, module = pair.first_origin
            where += f"; the difference begins in {module} ({phase})"
        if assessed.settle:
            where += f"; {assessed.settle}"
        found.append((assessed.judgement, where))
    return found


def _beyond_the_pairs(runs: Question, exact: Question, margin: Question) -> list[tuple[Judgement, str]]:
    """Judge what only flip searches, repeats and the sampler's check can tell."""
    found = []
    if exact.reply is Reply.NO:
        found.append((Judgement.SAMPLER, exact.because))
    if runs.reply is Reply.NO:
        found.append((Judgement.NOT_REPEATABLE, runs.because))
    if margin.reply is Reply.NO:
        found.append((Judgement.CANNOT_TELL, margin.because))
    return found


def _not_replayed(runs: Question, neighbours: Question, place: Question) -> str:
    """Say what a capture with evidence would add: the replay, and the controls that nothing here answers."""
    controls = {"run_to_run": runs, "neighbours": neighbours, "position": place}
    missing = [f"'{CONTROL_NAMES[name]}'" for name, asked in controls.items() if asked.reply is Reply.CANNOT_TELL]
    if not missing:
        return "no module was replayed: `tracediff capture --evidence` does it"
    which = f"the control {missing[0]} was" if len(missing) == 1 else f"the controls {listing(missing)} were"
    return f"no module was replayed, and {which} not run: `tracediff capture --evidence` does both"


def _cannot_know(facts: Facts, sampler: SamplerReport | None) -> tuple[str, ...]:
    sentences = list(facts.notes)
    if sampler is None:
        sentences.append("whether the sampler that served the text is exact: none was given")
    profiler = None if facts.evidence is None else facts.evidence.controls.get("profiler")
    if facts.evidence is not None and (profiler is None or profiler.equal is None):
        why = None if profiler is None else profiler.why
        sentences.append(f"whether recording changed the outputs: {why or 'that control was not run'}")
    if facts.random_weights or any(result.settings.random_weights for _, result in facts.flips):
        sentences.append("how often a trained model flips: these weights are random, and margins are not those of one")
    sentences.append("what a server adds (scheduling, paged caches, its own kernels): this was measured in one process")
    sentences.append("other prompts, batch sizes, GPUs and library versions than those measured")
    return tuple(sentences)
