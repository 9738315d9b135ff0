"""What a thread of the recorded program wrote (`range_files`), read back: its ranges, and the brackets of its marks."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tracediff.capture.record.range_files import AFTER_MARK, ALL_CLOSED, BEFORE_MARK, CLOSED, EVENT, LOST
from tracediff.trace.table import Int64


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenThread:
    """What one thread wrote.

    Attributes:
        name: The file's, which its marks have too.
        process: The part of the name that the process's files share.
        moments: When something happened, in ns.
        numbers: What happened.
    """

    name: str
    process: str
    moments: Int64
    numbers: Int64

    @property
    def thread_id(self) -> int:
        """The thread's id, as the system counts."""
        return int(self.name.split("-")[2])

    @property
    def process_id(self) -> int:
        """The process's id."""
        return int(self.name.split("-")[0])

    def brackets(self) -> Int64:
        """Return the moments before and after each mark and its number, one row for each mark.

        One that an exception kept from being left, or from being noted, has none.
        """
        before = np.flatnonzero((self.numbers[:-1] == BEFORE_MARK) & (self.numbers[1:] <= AFTER_MARK))
        after = before + 1
        return np.stack([self.moments[before], self.moments[after], AFTER_MARK - self.numbers[after]], axis=1)

    def ranges(self) -> "PlacedRanges":
        """Return where ranges opened and closed.

        What closes that this thread did not open, since it was forked, is left out.
        """
        opens, closes = self.numbers > 0, self.numbers == CLOSED
        all_closed = (self.numbers == ALL_CLOSED) | (self.numbers == LOST)
        # Between two moments at which nothing is open, what opens and closes at one depth takes turns.
        depth = np.cumsum(opens.astype(np.int32) - closes) + closes
        before = np.cumsum(all_closed, dtype=np.int32)
        places = np.flatnonzero(opens | closes)
        places = places[np.lexsort((depth[places], before[places]))]
        following = np.full_like(places, -1)
        following[:-1] = places[1:]
        is_opened = opens[places]
        opened, following = places[is_opened], following[is_opened]
        is_closed = closes[following] & (depth[opened] == depth[following]) & (before[opened] == before[following])
        is_closed &= following >= 0
        ends = np.append(np.flatnonzero(all_closed), -1)
        closed = np.where(is_closed, following, ends[before[opened]])
        return PlacedRanges(opened=opened, closed=closed, texts=self.numbers[opened])


class PlacedRanges(NamedTuple):
    """Ranges of a thread, those of one depth in the order of time.

    Attributes:
        opened: Places among the thread's moments.
        closed: The same; -1 where one never closed.
        texts: The number of each text.
    """

    opened: Int64
    closed: Int64
    texts: Int64


def read_thread(path: Path) -> WrittenThread:
    """Read the file of a thread, up to where it stopped writing."""
    content = path.read_bytes()
    pairs = np.frombuffer(content[: len(content) // EVENT.size * EVENT.size], dtype=np.int64).reshape(-1, 2)
    written = int(np.argmax(pairs[:, 1] == 0)) if (pairs[:, 1] == 0).any() else len(pairs)
    return WrittenThread(
        name=path.stem,
        process="-".join(path.stem.split("-")[:2]),
        moments=pairs[:written, 0],
        numbers=pairs[:written, 1],
    )
