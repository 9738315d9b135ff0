"""Align kernel tables by module and phase, compare them, and say what each change means."""

from tracediff.diff.compare import diff_tables
from tracediff.diff.many import ManyDiff, diff_many, side_by_side
from tracediff.diff.result import Kernel, Pair, Row, Side, TraceDiff, Verdict

__all__ = [
    "Kernel",
    "ManyDiff",
    "Pair",
    "Row",
    "Side",
    "TraceDiff",
    "Verdict",
    "diff_many",
    "diff_tables",
    "side_by_side",
]
