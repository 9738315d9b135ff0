"""Puts the ranges that a program's processes wrote (`range_files`) into nsys's export of the same run."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tracediff.capture.kept import API_CALLS, DOMAIN_CREATED, MARK, NVTX, PUSH_POP
from tracediff.capture.record.clock import Clock
from tracediff.capture.record.range_files import CLOCK_MARK, RANGES, TEXTS
from tracediff.capture.record.written_threads import WrittenThread, read_thread
from tracediff.errors import TracediffError
from tracediff.model.ranges import DOMAIN
from tracediff.trace.table import Bool, Int64

_THREAD_BITS = 24
_AT_ONCE = 100_000
# A program may leave marks that begin the same way.
_CLOCK_MARK = re.compile(rf"{CLOCK_MARK} (\d+-\d+-\d+-\d+) (\d+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A mark as nsys recorded it.

    Attributes:
        moment: When, in the export's ns.
        thread: Its thread, as exports number threads (`globalTid`).
        domain: Its NVTX domain; 0 is the default domain.
    """

    moment: int
    thread: int
    domain: int


def insert_ranges(export: Path, folder: Path, bounded: bool = False) -> int:
    """Add the ranges to an export, in the domain `tracediff`; return how many.

    An export that holds none of the marks gets none: nsys did not see the program's NVTX.

    Args:
        export: An nsys SQLite export, which is changed.
        folder: Where the processes wrote.
        bounded: Whether nsys recorded a part of the run: ranges beyond what it recorded are left out.

    Raises:
        TracediffError: The export is not what nsys writes.
    """
    threads = [read_thread(path) for path in sorted(folder.glob(f"*{RANGES}"))]
    try:
        return _inserted(export, folder, threads, bounded)
    except sqlite3.Error as error:
        raise TracediffError(f"cannot add module ranges to nsys's export: {error}") from error


def _inserted(export: Path, folder: Path, threads: list[WrittenThread], bounded: bool) -> int:
    with contextlib.closing(sqlite3.connect(export)) as connection, connection:
        target = _Export(connection)
        marks = target.clock_marks()
        if not marks:
            return 0
        every, own = _measured(threads, marks)
        span = target.span() if bounded else None
        numbers = _global_threads(threads, marks)
        texts = {process: _texts(folder / f"{process}{TEXTS}") for process in {thread.process for thread in threads}}
        inserted = 0
        for thread in threads:
            clock = own.get(thread.process, every)
            number = numbers.get(thread.name)
            if clock is not None and number is not None:
                inserted += target.add(_rows(thread, clock, span), texts[thread.process], number)
        return inserted


def _measured(
    threads: list[WrittenThread], marks: dict[tuple[str, int], Mark]
) -> tuple[Clock | None, dict[str, Clock]]:
    """Return the clock that all processes' marks make, and each process's own."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for thread in threads:
        for before, after, number in thread.brackets().tolist():
            mark = marks.get((thread.name, number))
            if mark is not None:
                found.setdefault(thread.process, []).append((before, after, mark.moment))
    own = {process: _clock(rows) for process, rows in found.items()}
    together = [row for rows in found.values() for row in rows]
    return _clock(together) if together else None, own


def _clock(rows: list[tuple[int, int, int]]) -> Clock:
    table = np.array(rows, dtype=np.int64)
    return Clock(table[:, :2], table[:, 2])


def _global_threads(threads: list[WrittenThread], marks: dict[tuple[str, int], Mark]) -> dict[str, int]:
    """Return how the export numbers threads: as their marks do, or made from ids where those of all others are."""
    above = 2 * _THREAD_BITS
    known = {name: mark.thread for (name, _), mark in marks.items()}
    ids = {thread.name: thread.process_id << _THREAD_BITS | thread.thread_id for thread in threads}
    machines = {
        known[name] >> above for name, own in ids.items() if name in known and known[name] & ((1 << above) - 1) == own
    }
    made = {name: machine << above | own for machine in machines for name, own in ids.items()}
    return {**(made if len(machines) == 1 else {}), **known}


class _Rows(NamedTuple):
    """Ranges in nsys's time, in ns.

    Attributes:
        starts: When each opened.
        ends: When it closed.
        is_closed: Whether it did.
        texts: The number of its text.
    """

    starts: Int64
    ends: Int64
    is_closed: Bool
    texts: Int64

    def where(self, wanted: Bool) -> "_Rows":
        """Return some of them."""
        return _Rows(self.starts[wanted], self.ends[wanted], self.is_closed[wanted], self.texts[wanted])

    def blocks(self) -> Iterator[Iterator[tuple[int, int | None, int]]]:
        """Yield the start, the end or None, and the text's number of each, many at a time."""
        for first in range(0, len(self.starts), _AT_ONCE):
            starts, ends, is_closed, texts = (column[first : first + _AT_ONCE].tolist() for column in self)
            known = (end if has_end else None for end, has_end in zip(ends, is_closed, strict=True))
            yield zip(starts, known, texts, strict=True)


def _rows(thread: WrittenThread, clock: Clock, span: tuple[int, int] | None) -> _Rows:
    moments, placed = clock(thread.moments), thread.ranges()
    is_closed = placed.closed >= 0
    rows = _Rows(moments[placed.opened], moments[placed.closed], is_closed, placed.texts)
    if span is None:
        return rows
    first, last = span
    return rows.where((rows.starts <= last) & (~is_closed | (rows.ends >= first)))


def _texts(path: Path) -> dict[int, tuple[str, int | None]]:
    """Return the text and payload of each number; a line that a killed process left half is none."""
    texts: dict[int, tuple[str, int | None]] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                number, text, payload = json.loads(line)
                texts[number] = text, payload
    return texts


class _Export:
    """An export that ranges are added to."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._has_calls = API_CALLS in tables
        self._has_events = NVTX in tables
        columns = connection.execute("SELECT name FROM pragma_table_info(?)", (NVTX,))
        if self._has_events and "int64Value" not in {name for (name,) in columns}:
            connection.execute(f"ALTER TABLE {NVTX} ADD COLUMN int64Value INTEGER")
        self._domains: dict[int, int] = {}
        self._named: set[int] = set()  # processes whose domain has its name
        self._strings: dict[str, int] = {}

    def clock_marks(self) -> dict[tuple[str, int], Mark]:
        """Return the marks left for the clock, by their thread's name and their number on it."""
        if not self._has_events:
            return {}
        rows = self._connection.execute(
            "SELECT COALESCE(text, value) AS said, start, globalTid, COALESCE(domainId, 0) "
            f"FROM {NVTX} LEFT JOIN StringIds ON id = textId WHERE eventType = {MARK} AND said LIKE '{CLOCK_MARK} %'"
        )
        marks = {}
        for text, moment, thread, domain in rows:
            found = _CLOCK_MARK.fullmatch(text)
            if found is None:
                continue
            marks[found[1], int(found[2])] = Mark(moment=moment, thread=thread, domain=domain)
            if domain:
                self._domains[thread >> _THREAD_BITS] = domain
        return marks

    def span(self) -> tuple[int, int]:
        """Return from when to when nsys recorded."""
        # When a domain was made says nothing: nsys tells of those that were there before it recorded.
        events = [f"{NVTX} WHERE eventType <> {DOMAIN_CREATED}", *([API_CALLS] if self._has_calls else [])]
        times = [
            self._connection.execute(f"SELECT MIN(start), MAX(COALESCE(end, start)) FROM {each}").fetchone()
            for each in events
        ]
        known = [each for each in times if each[0] is not None]
        return min(first for first, _ in known), max(last for _, last in known)

    def add(self, rows: _Rows, texts: dict[int, tuple[str, int | None]], thread: int) -> int:
        """Add ranges of one thread; return how many: those whose text is known."""
        domain = self._domain(thread)
        known = rows.where(np.isin(rows.texts, list(texts)))
        strings = {number: (self._string(texts[number][0]), texts[number][1]) for number in set(known.texts.tolist())}
        for block in known.blocks():
            self._connection.executemany(
                f"INSERT INTO {NVTX} (start, end, eventType, globalTid, domainId, textId, int64Value) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((start, end, PUSH_POP, thread, domain, *strings[number]) for start, end, number in block),
            )
        return len(known.starts)

    def _domain(self, thread: int) -> int:
        """Return the id of the domain `tracediff` in a thread's process, made where nsys has none."""
        process = thread >> _THREAD_BITS
        if process in self._named:
            return self._domains[process]
        of_process = f"FROM {NVTX} WHERE globalTid >> {_THREAD_BITS} = {process}"
        if process not in self._domains:
            (largest,) = self._connection.execute(f"SELECT COALESCE(MAX(domainId), 0) {of_process}").fetchone()
            self._domains[process] = largest + 1
        domain = self._domains[process]
        made = f"SELECT 1 {of_process} AND eventType = {DOMAIN_CREATED} AND domainId = {domain}"
        if self._connection.execute(made).fetchone() is None:
            self._connection.execute(
                f"INSERT INTO {NVTX} (start, eventType, globalTid, domainId, text) VALUES (0, ?, ?, ?, ?)",
                (DOMAIN_CREATED, thread, domain, DOMAIN),
            )
        self._named.add(process)
        return domain

    def _string(self, text: str) -> int:
        if text not in self._strings:
            (largest,) = self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM StringIds").fetchone()
            # A module's name may hold what is no text (a lone surrogate).
            value = text.encode(errors="replace").decode()
            self._connection.execute("INSERT INTO StringIds (id, value) VALUES (?, ?)", (largest + 1, value))
            self._strings[text] = largest + 1
        return self._strings[text]
