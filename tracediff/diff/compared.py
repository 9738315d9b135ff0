"""What of a trace was compared, how often it ran, and what was left out."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class LeftOut(StrEnum):
    """Why kernels of a trace were not compared."""

    OTHER_KIND = "other-kind"
    """Executions of a phase that ran different kernels than every execution compared."""
    OTHER_COUNT = "other-count"
    """Executions beyond the number of times that the other trace ran the same."""
    OTHER_LAUNCH = "other-launch"
    """Executions that launch a kernel in another way than in the other trace, where the one compared does not."""
    SET_UP = "set-up"
    """Kernels launched before the first range: weights being made, autotuning, warm-up, graph capture."""
    OUTSIDE = "outside"
    """Kernels in no module, beyond the number that is listed."""
    NOT_ASKED_FOR = "not-asked-for"
    """Phases that the user did not choose."""


class NotCompared(Struct, frozen=True, kw_only=True):
    """Kernels of one trace that were not compared.

    Attributes:
        why: The reason.
        phase: The phase they ran in; None outside every range.
        executions: Executions of the phase left out; 0 where only some kernels of one are.
        kernels: Kernels left out.
    """

    why: LeftOut
    phase: str | None
    executions: int
    kernels: int

    @property
    def weighs(self) -> bool:
        """Whether "the same" must not be said without it: not of set-up, nor of what the user chose to leave out."""
        return self.why not in (LeftOut.SET_UP, LeftOut.NOT_ASKED_FOR)


class Executions(Struct, frozen=True, kw_only=True):
    """How often a compared phase ran.

    Attributes:
        phase: The phase as it is called in the rows.
        texts: What the executions are called in the trace, where their texts count up (`decode[0]`, `decode[1]`, …);
            empty where all have the phase's name.
        durations_ns: GPU time of each execution that ran the same kernels as the one compared, in order of the run.
    """

    phase: str
    texts: tuple[str, ...] = ()
    durations_ns: tuple[int, ...]
