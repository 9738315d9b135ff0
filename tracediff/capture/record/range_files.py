"""Ranges that the recorded program writes to files itself: a moment and a number whenever one opens or closes.

An NVTX range costs a program 10 µs under nsys where the CPU sets its pace (a decode step of 214 modules, H100). Two
numbers written to memory cost a tenth of that, and a file behind that memory keeps them when the process is killed.
`tracediff.capture.record.insert_ranges` puts the ranges into nsys's export as if they had been NVTX's.

A folder holds

- `PROCESS-STARTED.texts` of each process: JSON lines `[number, text, payload]`;
- `PROCESS-STARTED-THREAD-N.ranges` of each thread: pairs of 64-bit numbers, a moment (CLOCK_MONOTONIC, ns) and what
  happened then: the number of the text of a range that opened, or one of `CLOSED`, `ALL_CLOSED` (what was open is no
  longer, whether it said so or not), `LOST` (the same, and nothing is written from then on), `BEFORE_MARK`, and
  `AFTER_MARK` less the mark's number. Zeros follow the last pair.

nsys has a clock of its own, so now and then a mark is left between two moments: where nsys says that the mark
`tracediff clock PROCESS-STARTED-THREAD-N 3` was, is between the moments of BEFORE_MARK and of AFTER_MARK - 3.

Runs in the program's own Python.
"""

import itertools
import json
import mmap
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from struct import Struct

from tracediff.capture.record.mapped import mapped

#: What happened at a moment, where no range opened.
CLOSED, ALL_CLOSED, LOST, BEFORE_MARK = -1, -2, -3, -4
#: After mark 0; after mark 1 it is one less, and so on.
AFTER_MARK = -5
#: How the texts of the marks begin that are left for the clock's sake.
CLOCK_MARK = "tracediff clock"
TEXTS, RANGES = ".texts", ".ranges"
EVENT = Struct("=qq")

# Bytes of a file's first part, and at most of a later one: many threads and forked children write little.
_FIRST_CHUNK, _CHUNK = mmap.ALLOCATIONGRANULARITY, 1 << 18
# nsys and the package nvtx keep the text of every mark.
_NS_BETWEEN_MARKS = 250_000_000
# A call that follows another one like it takes a microsecond, not the ten or twenty of the first.
_MARKS_AT_ONCE = 3
# Not `perf_counter_ns`, the same clock: what freezes time for tests (freezegun) replaces that, even here.
_moment = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
_write = EVENT.pack_into

PrepareMark = Callable[[str], Callable[[], object]]


def _nothing() -> None:
    pass


class _RangeFile:
    """The file of one thread, a part of it in memory.

    Attributes:
        name: Its name without suffix.
        memory: The part.
        at: Where in the part the next pair goes.
        end: The length of the part.
        marks: How many marks were left on this thread.
        marked_at: The moment of the last one.
    """

    __slots__ = (
        "_is_told",
        "_path",
        "_size",
        "_tell",
        "_unmap",
        "_why_lost",
        "at",
        "end",
        "marked_at",
        "marks",
        "memory",
        "name",
    )

    def __init__(self, folder: str, name: str, tell: Callable[[str], bool]) -> None:
        self.name = name
        self._tell = tell
        self.marks = 0
        self.marked_at = -_NS_BETWEEN_MARKS
        self._path = os.path.join(folder, name + RANGES)  # noqa: PTH118
        self._size = 0
        self._why_lost = ""
        self._is_told = False
        self._unmap: Callable[[], object] = _nothing
        self.memory = memoryview(b"")
        self.at = self.end = 0
        self.grow()

    def grow(self) -> None:
        """Go on with the next part. Where the disk is full the same memory is written to again: the program goes on.

        A signal handler's exception may end this anywhere; then it is made again.
        """
        if self._why_lost:
            self.at = 0
            # Where no file can be opened, this cannot be told either until one can.
            self._is_told = self._is_told or self._tell(self._why_lost)
            return
        try:
            self._map_next()
        except OSError as error:
            if self._size:
                _write(self.memory, self.end - EVENT.size, _moment(), LOST)
            self._why_lost = f"its ranges end early: {error}"
            self._use(memoryview(bytearray(_FIRST_CHUNK)), self._size, _nothing)
            self._is_told = self._tell(self._why_lost)

    def _map_next(self) -> None:
        length = min(max(self._size, _FIRST_CHUNK), _CHUNK)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Not truncated to size: a page that finds no room when it is written to would kill the program.
            os.posix_fallocate(file, self._size, length)
            memory, unmap = mapped(file, length, self._size)
        finally:
            os.close(file)
        self._use(memory, self._size + length, unmap)

    def _use(self, memory: memoryview, size: int, unmap: Callable[[], object]) -> None:
        end, unmap_last = len(memory), self._unmap
        self.memory, self.at, self.end, self._size, self._unmap = memory, 0, end, size, unmap
        unmap_last()

    def __del__(self) -> None:
        self._unmap()


class _Threads(threading.local):
    """Gives each thread its file."""

    def __init__(self, start: Callable[[], _RangeFile]) -> None:
        self.file = start()


class RangeFiles:
    """Writes the ranges of this process; a forked child begins files of its own.

    Args:
        folder: Where the files go.
        prepare_mark: Makes what leaves an NVTX mark of a text.
        tell: Told why ranges are lost from now on; returns whether it could take that, else it is told again.
    """

    def __init__(self, folder: str, prepare_mark: PrepareMark, tell: Callable[[str], bool]) -> None:
        self._folder = folder
        self._prepare_mark = prepare_mark
        self._tell = tell
        self.close: Callable[[], object] = partial(self._add, CLOSED)
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._process = f"{os.getpid()}-{_moment()}"
        self._numbers: dict[tuple[str, int | None], int] = {}
        self._unwritten: list[str] = []
        self._lock = threading.Lock()
        count = itertools.count()
        self._threads = _Threads(
            lambda: _RangeFile(self._folder, f"{self._process}-{threading.get_native_id()}-{next(count)}", self._tell)
        )

    def opener(self, text: str) -> Callable[[], object]:
        """Make what opens a range, once for a text; a forked child makes its own."""
        return partial(self._add, self._number(text, None))

    def open_step(self, text: str, payload: int | None) -> None:
        """Open an outermost range, with a payload; leave marks for the clock where the last ones were some time ago.

        What is open by now lost its end to an exception that came between two lines, as signal handlers raise.
        """
        number = self._number(text, payload)
        file = self._threads.file
        if _moment() - file.marked_at > _NS_BETWEEN_MARKS:
            self.mark_clock()
        self._add(ALL_CLOSED)
        self._add(number)

    def mark_clock(self) -> None:
        """Leave marks, each between two moments."""
        if self._unwritten:
            self._write_texts()
        file = self._threads.file
        for _ in range(_MARKS_AT_ONCE):
            number = file.marks
            leave = self._prepare_mark(f"{CLOCK_MARK} {file.name} {number}")
            file.marks = number + 1
            self._add(BEFORE_MARK)
            leave()
            self._add(AFTER_MARK - number)
        file.marked_at = _moment()

    def _add(self, number: int) -> None:
        file = self._threads.file
        at = file.at
        if at == file.end:
            file.grow()
            at = 0
        _write(file.memory, at, _moment(), number)
        file.at = at + EVENT.size

    def _number(self, text: str, payload: int | None) -> int:
        """Return the number of a text and payload, written down when they first come."""
        number = self._numbers.get((text, payload))
        if number is None:
            with self._lock:
                number = self._numbers.setdefault((text, payload), len(self._numbers) + 1)
                self._unwritten.append(json.dumps([number, text, payload]))
            self._write_texts()
        return number

    def _write_texts(self) -> None:
        """Write the texts that are not written yet; they stay where the disk is full or no file can be opened."""
        path = os.path.join(self._folder, self._process + TEXTS)  # noqa: PTH118
        with self._lock:
            try:
                with open(path, "a", encoding="utf-8") as texts:  # noqa: PTH123
                    texts.writelines(f"{line}\n" for line in self._unwritten)
            except OSError:
                self._unwritten.insert(0, "")  # ends a line of which a part was written
            else:
                self._unwritten.clear()
