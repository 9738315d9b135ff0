"""What of a trace was compared, how often it ran, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LeftOut(StrEnum):
    """Why kernels of a trace were not compared."""

    OTHER_KIND = "other-kind"
    """Executions of a phase that ran other kernels than every execution compared."""
    SET_UP = "set-up"
    """Kernels launched before the first range: weights being made, autotuning, warm-up, graph capture."""
    OUTSIDE = "outside"
    """Kernels outside every range, beyond the number that is listed."""
    NOT_ASKED_FOR = "not-asked-for"
    """Phases that the user did not choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCompared:
    """Kernels of one trace that were not compared.

    Attributes:
        why: The reason.
        phase: The phase they ran in; None outside every range.
        executions: Executions of the phase left out; 0 where there are none to speak of (set-up, outside).
        kernels: Kernels left out.
    """

    why: LeftOut
    phase: str | None
    executions: int
    kernels: int

    @property
    def weighs(self) -> bool:
        """Whether "the same" must not be said without it: not of set-up, nor of what the user chose to leave out."""
        return self.why in (LeftOut.OTHER_KIND, LeftOut.OUTSIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executions:
    """How often a compared phase ran.

    Attributes:
        phase: The phase as it is called in the rows.
        durations_ns: GPU time of each execution that ran the same kernels as the one compared, in order of the run.
    """

    phase: str
    durations_ns: tuple[int, ...]
