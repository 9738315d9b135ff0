"""How far logits moved, from the stored logits of captures whose evidence does not say it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec.structs import replace

from tracediff.dtypes import Floats
from tracediff.measured.model import Evidence, LogitsMove, PairEvidence

Logits = Mapping[str, tuple[str, Floats]]
"""(dtype, row 0's logits of the phase's last position) by `batch/phase`."""


def with_moves(evidence: Evidence, logits: Logits) -> Evidence:
    """Return the evidence with the moves that it lacks, as far as the stored logits tell them.

    They hold the last position of each phase, so that is what the largest change and the scale are of.
    """
    return replace(evidence, pairs=tuple(_with_moves(pair, logits) for pair in evidence.pairs))


def _with_moves(pair: PairEvidence, logits: Logits) -> PairEvidence:
    if pair.moves:
        return pair
    moves = {}
    for phase in pair.logits:
        sides = [logits.get(f"{batch}/{phase}") for batch in pair.batches]
        if sides[0] is not None and sides[1] is not None and sides[0][1].shape == sides[1][1].shape:
            moves[phase] = _move(sides[0][1], sides[1][1])
    return replace(pair, moves=moves)


def _move(a: Floats, b: Floats) -> LogitsMove:
    change = np.abs(a - b)
    tops = [_two_largest(side) for side in (a, b)]
    margins = [float(side[top[0]] - side[top[1]]) for side, top in zip((a, b), tops, strict=True)]
    changes = [float(change[top].sum()) for top in tops]
    return LogitsMove(
        max_abs=_finite(float(change.max())),
        scale=_finite(float(np.abs(a).max())),
        margins=(_finite(margins[0]), _finite(margins[1])),
        top_changes=(_finite(changes[0]), _finite(changes[1])),
    )


def _two_largest(logits: Floats) -> list[int]:
    """Return where the largest logit is, and the second. A vocabulary is too long to be sorted for that."""
    first = int(np.argmax(logits))
    rest = logits.copy()
    rest[first] = -np.inf
    return [first, int(np.argmax(rest))]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
