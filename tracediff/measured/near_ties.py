"""Whether a token that flipped in a captured run was a near tie, judged by what the logits did elsewhere in the run.

An argmax can only flip where its two logits moved by what lay between them, so that says nothing. What can fail is
whether the margin is one that logits of this run bridge where nothing flips.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from tracediff.measured.model import LogitsMove

#: Each of two logits moves by no more than the largest change of a logit, in opposite directions.
TYPICAL_CHANGES = 2


def typical_change(largest_changes: Sequence[float]) -> float | None:
    """Return the median of the steps' largest changes of a logit, of those that moved; None where none did."""
    moved = [change for change in largest_changes if change > 0]
    return statistics.median(moved) if moved else None


def is_near_tie(margin: float, typical: float | None) -> bool | None:
    """Return whether logits that move as they typically do bridge a margin; None where nothing says how they move."""
    if margin == 0:
        return True
    return None if typical is None else margin <= TYPICAL_CHANGES * typical


def near_ties(tokens: Mapping[str, tuple[int, int]], moves: Mapping[str, LogitsMove]) -> dict[str, bool | None]:
    """Return for each phase whose token flipped whether it was a near tie; None where that cannot be told.

    Args:
        tokens: The greedy choice at either batch size, by phase.
        moves: How far the logits moved, by phase.
    """
    flipped = [phase for phase, (a, b) in tokens.items() if a != b]
    quiet = [move.max_abs for phase, move in moves.items() if phase not in flipped and move.max_abs is not None]
    typical = typical_change(quiet)
    return {phase: _near_tie(moves.get(phase), typical) for phase in flipped}


def _near_tie(move: LogitsMove | None, typical: float | None) -> bool | None:
    if move is None or None in move.margins:
        return None
    if move.covers_margins is False:
        return False
    return is_near_tie(max(margin for margin in move.margins if margin is not None), typical)
