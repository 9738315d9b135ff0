"""cuBLASLt's log of the first steps of each shape, and of no others.

Runs in the program's own Python.
"""

from collections import Counter
from collections.abc import Callable

from tracediff.capture.algorithm_log import AlgorithmLog

_LOGGED_STEPS = 2


class LogOfFirstSteps:
    """cuBLASLt's log, on in the first steps of each shape: it is slow, and what it says of a shape stays the same.

    Where the recording keeps a part of the run, its first steps are the first of that part.

    Args:
        log: The log, switched on.
        is_capturing: Whether a CUDA graph is being captured now.
        part: Which part of the run it is.
        kept_from: How many steps of a root are not kept.
    """

    def __init__(
        self, log: AlgorithmLog, is_capturing: Callable[[], bool], part: Callable[[], int], kept_from: int = 0
    ) -> None:
        self._log = log
        self._is_capturing = is_capturing
        self._part = part
        self._counted_in = part()
        self._kept_from = kept_from
        self._made: Counter[str] = Counter()
        self._of_shape: Counter[tuple[str, int | None]] = Counter()
        self._is_on = True

    def before_step(self, root: str, shape: int | None) -> None:
        """Switch the log on or off for a step."""
        if self._part() != self._counted_in:
            self._counted_in = self._part()
            self._of_shape.clear()
        if self._kept_from:
            if self._made[root] == self._kept_from:
                self._of_shape = Counter({key: count for key, count in self._of_shape.items() if key[0] != root})
            self._made[root] += 1
        self._of_shape[root, shape] += 1
        # Steps of unknown shape may be of any; what is captured into a graph is called once and replayed often.
        wanted = shape is None or self._of_shape[root, shape] <= _LOGGED_STEPS or self._is_capturing()
        if wanted != self._is_on:
            self._is_on = wanted
            (self._log.resume if wanted else self._log.pause)()
