"""The program's moments in nsys's time.

nsys has a clock of its own. The program left marks, each between two of its moments; nsys says when they were. Of each
second the mark with the least time between its moments counts, so a moment is off by half of that at most. It was 0.6
to 0.9 µs in each of 12 s of a busy machine (nsys 2023.4), and the clocks did not drift apart. Between an API call and
the beginning or end of the module that makes it lie several.
"""

import numpy as np

from tracediff.trace.table import Int64

_NS_PER_SECOND = 1_000_000_000


class Clock:
    """Turns moments of the program into those of nsys.

    Args:
        brackets: The moments before and after each mark, at least one.
        marked: Where nsys has each mark.
    """

    def __init__(self, brackets: Int64, marked: Int64) -> None:
        tightest: dict[int, int] = {}
        width = brackets[:, 1] - brackets[:, 0]
        for row in np.argsort(-width, kind="stable").tolist():
            tightest[int(brackets[row, 0]) // _NS_PER_SECOND] = row
        rows = np.array(sorted(tightest.values(), key=lambda row: int(brackets[row, 0])))
        self._moments = brackets[rows, 0] + width[rows] // 2
        offsets = marked[rows] - self._moments
        self._first = offsets[0]
        self._further = offsets - self._first

    def __call__(self, moments: Int64) -> Int64:
        """Return moments in nsys's time; the clocks' difference changes evenly between two marks."""
        since = (moments - self._moments[0]).astype(np.float64)
        further = np.interp(since, (self._moments - self._moments[0]).astype(np.float64), self._further)
        turned: Int64 = moments + self._first + np.rint(further).astype(np.int64)
        return turned
