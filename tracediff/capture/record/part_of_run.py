"""Which part of the run it is: a byte that all processes of a recording share.

It is counted up whenever a part begins that may be kept: SIGUSR1 came, or a process started the CUDA profiler. What was
logged before is not kept, so every process then logs its first steps again.

Runs in the program's own Python.
"""

import os

from tracediff.capture.record.mapped import mapped


class PartOfRun:
    """The byte.

    Args:
        path: A file of one byte or more.

    Raises:
        OSError: There is no such file.
    """

    def __init__(self, path: str) -> None:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._memory, _ = mapped(file, 1)
        finally:
            os.close(file)

    @property
    def number(self) -> int:
        """Which part it is, from 0 to 255, and then from 0 again."""
        return self._memory[0]

    def begin(self) -> None:
        """Begin the next part."""
        self._memory[0] = (self._memory[0] + 1) % 256
