"""The question whether flipped tokens were near ties: judged by what logits do at steps where no token flips.

Where an argmax flips, its two logits moved by at least what lay between them, whatever moved them: that says nothing. A
margin that logits bridge nowhere else does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracediff.findings.explain_questions import Question, Reply, pairs_of, searches_of
from tracediff.findings.facts import Facts
from tracediff.findings.flips_summary import Summary
from tracediff.measured import CAPTURED_FLIPS_FILE, TYPICAL_CHANGES, PairEvidence, near_ties
from tracediff.text import count

_BRIDGED = "logits move where no token flips"
# Two orders of rounding are about equally far from float32; a batch size this much farther away does more than round.
_FARTHEST_RATIO = 2.0


def flips_are_near_ties(facts: Facts) -> Question:
    """Ask whether each flipped token's margin is one that logits bridge where no token flips."""
    question = "Is every flipped token a near tie?"
    summaries = searches_of(facts)
    unlike = next(filter(None, (_unlike_float32(name, summary) for name, summary in summaries)), None)
    if unlike is not None:
        return Question(text=question, reply=Reply.NO, because=unlike)
    flipping = [(name, summary) for name, summary in summaries if summary.flips]
    # The flips of the captured run stand in the evidence, and where they were kept with their logits, in a file.
    kept = any(name == CAPTURED_FLIPS_FILE for name, _ in facts.flips)
    captured = [near for pair in pairs_of(facts) for near in _flips_of_the_run(pair)] if not kept else []
    if not flipping and not captured:
        compared = bool(summaries or any(pair.tokens for pair in pairs_of(facts)))
        because = "no token flipped in what was measured" if compared else "no token was compared"
        return Question(text=question, reply=Reply.NOTHING if compared else Reply.CANNOT_TELL, because=because)
    reply, because = _near_ties(flipping, captured)
    return Question(text=question, reply=reply, because=because)


def _unlike_float32(name: str, summary: Summary) -> str | None:
    ratio = _ratio(summary)
    if ratio is None or ratio <= _FARTHEST_RATIO:
        return None
    return (
        f"batch {summary.batch} and batch {summary.base} are not equally far from float32: {ratio:.1f} times "
        f"({summary.precision}, {name}); a different order of rounding does not do that"
    )


def _near_ties(flipping: Sequence[tuple[str, Summary]], captured: Sequence[bool | None]) -> tuple[Reply, str]:
    """Judge the flips of searches, and those of the captured run that are known by the evidence alone."""
    flips = sum(summary.flips for _, summary in flipping) + len(captured)
    wrong = sum(summary.unexplained for _, summary in flipping)
    if wrong:
        return Reply.NO, f"{wrong:,} of {count(flips, 'flip')} chose a token that was not the largest logit"
    far = sum(summary.far for _, summary in flipping) + list(captured).count(False)
    widest = max(flipping, key=lambda each: _times_typical(each[1]), default=None)
    beside = "" if widest is None else _widest_in_words(*widest)
    if far:
        return Reply.NO, f"{far:,} of {count(flips, 'flip')} had a margin larger than {_BRIDGED}{beside}"
    unknown = sum(summary.near_unknown for _, summary in flipping) + list(captured).count(None)
    if unknown:
        return Reply.CANNOT_TELL, (
            f"{unknown:,} of {count(flips, 'flip')} cannot be judged: the margin is not known, or no logit moved "
            "where no token flipped"
        )
    none = "the flip's margin is no" if flips == 1 else f"none of the {flips:,} flips had a margin"
    return Reply.YES, f"{none} larger than {_BRIDGED}{beside}"


def _times_typical(summary: Summary) -> float:
    gap = summary.largest_gap or 0.0
    if gap == 0:
        return 0.0
    return gap / summary.typical_change if summary.typical_change else math.inf


def _widest_in_words(name: str, summary: Summary) -> str:
    """Name the margin of a search that is widest beside what logits typically move."""
    if summary.largest_gap is None or summary.largest_gap_ulp is None:
        return ""
    widest = f"{summary.largest_gap:.3g} ({summary.largest_gap_ulp:.3g} ULP)"
    typical = summary.typical_change
    beside = "" if typical is None else f" beside twice the typical change, {TYPICAL_CHANGES * typical:.3g}"
    return f": {widest}{beside} ({summary.precision}, batch {summary.batch}, {name})"


def _flips_of_the_run(pair: PairEvidence) -> list[bool | None]:
    """Return for each token that flipped in the captured run whether it was a near tie; None where not known."""
    return list(near_ties(pair.tokens, pair.moves).values())


def _ratio(summary: Summary) -> float | None:
    """Return how many times farther one batch size is from float32 than the other; None without a reference."""
    if not summary.error_base or not summary.error_other:
        return None
    return max(summary.error_other / summary.error_base, summary.error_base / summary.error_other)
