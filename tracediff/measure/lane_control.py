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
        repeats: Whether two runs of the same prompts had the same bits. Where not, no way can be told right by them.
    """

    way: Way
    repeats: bool


def first_run(
    decoder: Decoder, tasks: Sequence[Task], batch: int, *, mix: bool, sharing_holds: bool
) -> tuple[Control, list[Steps]]:
    """Run tasks of one cache size for the first time at a batch size: find the way that holds, and run it.

    Two of the prompts are run plainly. A way holds where their rows have the same bits in it, which shows at once that
    bits repeat. Where they have not, one of the two is run plainly again, to tell a way that changes bits from bits
    that no run repeats.

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
    plain = decoder.run([tasks[place] for place in witnesses], batch, PLAIN)
    rows_agree = all(one.rows_agree for one in plain)

    def agree(steps: Sequence[Steps]) -> bool:
        return all(same_bits(steps[place], one) for place, one in zip(witnesses, plain, strict=True))

    for way in _ways(batch, mix=mix, rows_agree=rows_agree):
        try:
            steps = decoder.run(tasks, batch, way)
        except NotByLaneError:
            continue
        if agree(steps):
            return Control(way=way, repeats=True), steps
        if not same_bits(plain[0], *decoder.run(tasks[:1], batch, PLAIN)):
            # No way can be told right by its bits. Rows of different prompts could leak into each other unnoticed.
            fitting = Way(mixed=batch == 1, shared=True) if sharing_holds else PLAIN
            return Control(way=fitting, repeats=False), decoder.run(tasks, batch, fitting)
    steps = decoder.run(tasks, batch, PLAIN)
    return Control(way=PLAIN, repeats=agree(steps)), steps


def _ways(batch: int, *, mix: bool, rows_agree: bool) -> tuple[Way, ...]:
    """Return the ways to try, the fastest first; `PLAIN` is left when none holds."""
    if not mix:
        return ()
    mixed = (Way(mixed=True, shared=True), Way(mixed=True, shared=False))
    if batch == 1:
        return mixed
    copies = (Way(mixed=False, shared=True),)
    return (*mixed, *copies) if rows_agree else copies
