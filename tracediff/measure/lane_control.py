"""Whether rows that decode together have the bits of plain copies: measured before a fast way is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracediff.measure.generation import Steps, same_bits
from tracediff.measure.lane_by_lane import NotByLaneError
from tracediff.measure.lane_rows import Task
from tracediff.measure.lanes import PLAIN, Decoder, Way


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What a control found at one batch size and cache size.

    Attributes:
        way: The fastest way whose rows have the bits of plain copies.
        repeats: Whether plain copies, run twice, had the same bits. Where not, no way can be told right by its bits.
    """

    way: Way
    repeats: bool


def first_run(
    decoder: Decoder, tasks: Sequence[Task], batch: int, *, mix: bool, sharing_holds: bool
) -> tuple[Control, list[Steps]]:
    """Run tasks of one cache size for the first time at a batch size: find the way that holds, and run it.

    Two of the prompts are run plainly, one of them twice. A way holds where rows of these prompts have the same bits.

    Args:
        decoder: Decodes.
        tasks: What to run.
        batch: Rows of a lane.
        mix: Whether rows may hold different prompts at all.
        sharing_holds: Whether shared lanes were found right elsewhere, which decides where bits do not repeat.

    Returns:
        What was found, and the steps of each task.
    """
    witnesses = sorted({0, len(tasks) - 1})
    # An equal task of its own, since the decoder knows tasks by their identity.
    again = Task(tokens=tasks[0].tokens, fed=tasks[0].fed)
    *plain, repeated = decoder.run([*(tasks[place] for place in witnesses), again], batch, PLAIN)
    repeats = same_bits(plain[0], repeated)
    rows_agree = all(one.rows_agree for one in plain)
    for way in _ways(batch, mix=mix):
        if way.mixed and batch > 1 and not (repeats and rows_agree):
            continue
        if way.shared and not (repeats or sharing_holds):
            continue
        try:
            steps = decoder.run(tasks, batch, way)
        except NotByLaneError:
            continue
        if not repeats or all(same_bits(steps[place], one) for place, one in zip(witnesses, plain, strict=True)):
            return Control(way=way, repeats=repeats), steps
    return Control(way=PLAIN, repeats=repeats), decoder.run(tasks, batch, PLAIN)


def _ways(batch: int, *, mix: bool) -> tuple[Way, ...]:
    """Return the ways to try, the fastest first; `PLAIN` is left when none holds."""
    if not mix:
        return ()
    mixed = (Way(mixed=True, shared=True), Way(mixed=True, shared=False))
    return mixed if batch == 1 else (*mixed, Way(mixed=False, shared=True))
