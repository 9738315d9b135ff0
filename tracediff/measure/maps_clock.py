"""A limit on how long a measurement goes on before it stops and can be resumed."""

from __future__ import annotations

import time
from dataclasses import dataclass

OUT_OF_TIME = "out of time: the same command goes on from here"


@dataclass(slots=True)
class Clock:
    """Says when nothing more may be started.

    Attributes:
        deadline: On the monotonic clock, in seconds; None never ends.
        stopped: Whether something was left for the next run.
    """

    deadline: float | None
    stopped: bool = False

    @classmethod
    def of(cls, minutes: float | None) -> Clock:
        """Start a clock that runs for so many minutes."""
        return cls(None if minutes is None else time.monotonic() + minutes * 60)

    def over(self) -> bool:
        """Whether the time is up; asked only where something is still to do."""
        self.stopped = self.stopped or (self.deadline is not None and time.monotonic() > self.deadline)
        return self.stopped
