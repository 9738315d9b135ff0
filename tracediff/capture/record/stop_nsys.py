"""`nsys stop`: nsys ends its recording before the recorded program is told to end."""

import contextlib
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tracediff.processes import kill_session

# How long nsys gets to stop recording before the program is told to end. It takes about 1 s.
_SECONDS_TO_STOP = 5.0
# A long recording takes minutes to write, and its files grow meanwhile; where nothing grows for this long, it hangs.
SECONDS_WITHOUT_GROWTH = 15.0


class StopNsys:
    """Tells nsys to stop recording before the program is told to end.

    nsys holds kernels back for a while. A program that a signal kills leaves it no time to collect them.

    Args:
        command: What tells nsys.
        environment: As that of nsys.
        folder: Where nsys writes; what this prints goes to `stop.log` in it.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._command = command
        self._environment = environment
        self._folder = folder
        self._log = folder / "stop.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._until = 0.0
        self._bytes = 0
        self._grown_at = 0.0

    def has_stopped(self) -> bool:
        """Return whether nsys has stopped recording, or takes too long; tell it at the first call."""
        if self._process is None:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._grown_at = time.monotonic()
            self._until = self._grown_at + _SECONDS_TO_STOP
        # It says what it writes once it has collected everything, and goes on writing.
        return self.has_ended() or self._log.stat().st_size > 0 or time.monotonic() > self._until

    def has_ended(self) -> bool:
        """Return whether nothing is being written by it."""
        return self._process is None or self._process.poll() is not None

    def hangs(self) -> bool:
        """Return whether it has not ended, and nothing in its folder has grown for `SECONDS_WITHOUT_GROWTH`."""
        if self.has_ended():
            return False
        written, now = _bytes_below(self._folder), time.monotonic()
        if written != self._bytes:
            self._bytes, self._grown_at = written, now
        return now > self._grown_at + SECONDS_WITHOUT_GROWTH

    @property
    def has_succeeded(self) -> bool:
        """Whether nsys was told, and stopped."""
        return self._process is not None and self._process.returncode == 0

    def kill(self) -> None:
        """End it."""
        if self._process is not None:
            kill_session(self._process)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            total += path.lstat().st_size
    return total
