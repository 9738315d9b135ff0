"""What of a diff a reader wants to see; every output for people takes the same choices."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tracediff.diff.answer import Answer
from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.overview import Section, overview
from tracediff.diff.result import TraceDiff
from tracediff.report.diff.lines import Sort, unfolded


class View(Struct, frozen=True, kw_only=True):
    """What to show.

    Attributes:
        everything: Also modules whose bits are equal, each kind in a line of its own.
        unfold: One line per layer.
        kernels: Full kernel names under each line.
        sort: The order of the lines within a phase.
        modules: Only these; None shows all. The answer is always that of the whole diff.
    """

    everything: bool = False
    unfold: bool = False
    kernels: bool = False
    sort: Sort = Sort.SEVERITY
    modules: ChosenModules | None = None


def sections(diff: TraceDiff, found: Answer, view: View) -> Sequence[Section]:
    """Return the sections to show."""
    chosen: Sequence[Section] = found.sections
    if view.modules is not None:
        chosen = overview(view.modules.rows(diff.rows))
    return [unfolded(section) for section in chosen] if view.unfold else chosen
