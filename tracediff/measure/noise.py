"""Noise: which modules do not repeat themselves, given equal inputs at one batch size again and again.

Measured before anything else. A module whose own bits vary is *unstable*: a difference that it shows, between batch
sizes or between neighbours, says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn

from tracediff.measure.crossings import Crossing, Place
from tracediff.measure.replay import Recording, Replayed, Shapes, recorded_outcomes, replay_outcomes
from tracediff.measured import Unstable

REPEATS = 5
"""How often each module is given equal inputs."""
_MORE_REPEATS = 25
"""How often more where whole runs vary, and five repeats showed no module that does."""
_CONFIRMING_REPEATS = 10
"""How often a difference between two arrangements is repeated before it is believed."""


class Varied(NamedTuple):
    """How many different outcomes came in how many runs."""

    outcomes: int
    repeats: int


@dataclass(slots=True)
class Noise:
    """What repeated replays at one batch size found.

    Attributes:
        batch: The batch size.
        row: What each stable crossing gave for row 0, as a fingerprint.
        whole: What each crossing gave for all rows, in the first replay.
        varied: How each unstable crossing varied.
        shapes: Of the tensors, of every crossing.
    """

    batch: int
    whole: dict[Crossing, int] = field(default_factory=dict)
    row: dict[Crossing, int] = field(default_factory=dict)
    varied: dict[Crossing, Varied] = field(default_factory=dict)
    shapes: Shapes = field(default_factory=dict)

    def add_varying(self, crossings: Mapping[Crossing, Varied]) -> None:
        """Count crossings as unstable that were found to vary later."""
        for crossing, varied in crossings.items():
            self.row.pop(crossing, None)
            self.varied[crossing] = max(varied, self.varied.get(crossing, varied))

    @property
    def places(self) -> dict[Place, Varied]:
        """The unstable modules, each with the crossing that varied most."""
        found: dict[Place, Varied] = {}
        for crossing, varied in self.varied.items():
            found[crossing.place] = max(varied, found.get(crossing.place, varied))
        return found

    def unstable(self, phases: Sequence[str]) -> tuple[Unstable, ...]:
        """Return the unstable modules as evidence holds them."""
        return tuple(
            Unstable(phase=phases[phase], module=module, batch=self.batch, **varied._asdict())
            for (phase, module), varied in self.places.items()
        )


def measure_noise(
    model: nn.Module, run: Callable[[], Any], recording: Recording, batch: int, repeats: int = REPEATS
) -> Noise:
    """Replay `repeats` times and compare what every module made of equal inputs, in all rows.

    Args:
        model: The model that `run` runs.
        run: Runs it at `batch`.
        recording: What batch 1 did; at batch 1 that is one more outcome.
        batch: Rows.
        repeats: How often.
    """
    replays = [replay_outcomes(model, run, recording) for _ in range(repeats)]
    outcomes = [replay.whole for replay in replays]
    if batch == 1:
        outcomes.append(recorded_outcomes(recording))
    varied = varying(outcomes)
    return Noise(
        batch=batch,
        row={crossing: row for crossing, row in replays[0].row.items() if crossing not in varied},
        whole=replays[0].whole,
        varied=varied,
        shapes=replays[0].shapes,
    )


def search_noise(model: nn.Module, run: Callable[[], Any], recording: Recording, noise: Noise) -> None:
    """Replay more often, until a module varies: a whole run has many modules that may, so it shows rare noise first.

    Args:
        model: The model that `run` runs.
        run: Runs it at the noise's batch size.
        recording: What batch 1 did.
        noise: Takes what is found.
    """
    for number in range(_MORE_REPEATS):
        outcomes = replay_outcomes(model, run, recording).whole
        other = [crossing for crossing, outcome in outcomes.items() if noise.whole.get(crossing, outcome) != outcome]
        if other:
            noise.add_varying(dict.fromkeys(other, Varied(2, REPEATS + number + 1)))
            return


def varying(replays: Iterable[Mapping[Crossing, int]]) -> dict[Crossing, Varied]:
    """Return the crossings that gave more than one outcome."""
    seen: dict[Crossing, list[int]] = {}
    for replay in replays:
        for crossing, outcome in replay.items():
            seen.setdefault(crossing, []).append(outcome)
    return {crossing: Varied(len({*found}), len(found)) for crossing, found in seen.items() if len({*found}) > 1}


@dataclass(frozen=True, slots=True)
class Rearranged:
    """How stable modules took another arrangement of the same row's neighbours.

    Attributes:
        differing: Crossings whose outcome for the row is another one in every repeat.
        doubted: Crossings whose outcome is another one too, which was not repeated since it would prove nothing.
        varied: Those that turned out to vary by themselves.
    """

    differing: tuple[Crossing, ...]
    doubted: tuple[Crossing, ...]
    varied: dict[Crossing, Varied]


def compare_arrangements(
    plain: Replayed,
    replay_plain: Callable[[], Replayed],
    replay_other: Callable[[], Replayed],
    is_doubted: Callable[[Crossing, frozenset[str]], bool],
) -> Rearranged:
    """Compare what each module makes of one row in two arrangements; a difference is repeated before it is believed.

    One run that agrees is enough. Where runs differ, both arrangements are run again, in turn. What gives one
    outcome in every repeat of the plain arrangement, and never that one in the other, differs; else it varies by
    itself. The other arrangement need not give one outcome: its neighbours may vary, and what leaks with them.

    Args:
        plain: Outcomes of the stable crossings in the plain arrangement.
        replay_plain, replay_other: Replay either arrangement.
        is_doubted: Whether a difference at a crossing proves nothing. Takes also the modules whose tensors have other
            shapes in the other arrangement: which work they do depends on the rows' content.
    """
    other = replay_other()
    reshaped = frozenset(
        crossing.module for crossing, shapes in plain.shapes.items() if other.shapes.get(crossing) != shapes
    )
    other_than_plain = [crossing for crossing, row in plain.row.items() if other.row.get(crossing, row) != row]
    doubted = tuple(crossing for crossing in other_than_plain if is_doubted(crossing, reshaped))
    suspects = [crossing for crossing in other_than_plain if crossing not in doubted]
    if not suspects:
        return Rearranged((), doubted, {})
    of_plain, of_other = [plain.row], [other.row]
    for _ in range(_CONFIRMING_REPEATS):
        of_plain.append(replay_plain().row)
        of_other.append(replay_other().row)
    varied = {crossing: found for crossing, found in varying(of_plain).items() if crossing in plain.row}
    differing = []
    for crossing in suspects:
        if all(replay.get(crossing) != plain.row[crossing] for replay in of_other) and crossing not in varied:
            differing.append(crossing)
        else:
            both = varying([{crossing: replay[crossing]} for replay in of_plain + of_other if crossing in replay])
            varied[crossing] = both[crossing]
    return Rearranged(tuple(differing), doubted, varied)
