"""Read columns of an SQLite table straight from its b-tree pages, many rows at a time.

SQLite hands out one row after another, and over 1 µs per row goes into Python objects; the records themselves are
simple (https://www.sqlite.org/fileformat2.html, "B-tree Pages" and "Record Format") and decode in numpy, column by
column, at 0.1–0.2 µs per row. Only the plain case is read here: a table with rowids, whole records on one page.
Whatever else a page holds (or a damaged one seems to hold) raises `UnusualPageError`, and the caller asks SQLite
instead.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

#: Stands for NULL, and for text, blob or float, in a column of integers; nsys writes no such number.
NULL = np.iinfo(np.int64).min

_INTERIOR, _LEAF = 5, 13
_LEAF_HEADER, _INTERIOR_HEADER = 8, 12
_PAGES_PER_CHUNK = 512
_THREADS = 2
#: Bytes of zeros around a chunk, so that eight bytes may be read anywhere near its ends.
_PADDING = 16
#: Bytes a value of each serial type takes; 10 and 11 are reserved.
_SIZE = np.array([0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0] + [(code - 12) // 2 for code in range(12, 256)], dtype=np.int64)
#: By how much eight bytes that end in an integer are shifted to leave it alone, per serial type.
_SHIFT = np.array([0, 56, 48, 40, 32, 16, 0, 0, 0, 0], dtype=np.int64)
_REAL, _ZERO, _ONE, _FIRST_VARIABLE = 7, 8, 9, 12
_DEEPEST_TREE = 20
_UTF8 = 1


class UnusualPageError(Exception):
    """A page holds what this reader leaves to SQLite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of a table, in order of their rowids.

    Attributes:
        rowid: Of each row.
        integers: Column → values, `NULL` where the row holds no integer.
        text: Of each row the bytes of the text column, None where it is no text; empty list where none was asked for.
        apart: Positions of rows that a page does not hold whole; their values are to be asked of SQLite.
        share: How much of the table has been read with these rows; a half where nobody knows.
    """

    rowid: Int64
    integers: dict[str, Int64]
    text: list[bytes | None]
    apart: Int64
    share: float = 0.5


class PageFile:
    """An SQLite file, read page by page. Nothing is mapped: a file cut short while being read is a short read."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> None:
        header = self._file.read(100)
        if len(header) != 100:
            raise UnusualPageError
        size = int.from_bytes(header[16:18], "big")
        self.page_size = 65536 if size == 1 else size
        self.usable = self.page_size - header[20]
        if self.page_size < 512 or self.page_size & (self.page_size - 1) or self.usable < 480:
            raise UnusualPageError
        self.is_utf8 = int.from_bytes(header[56:60], "big") == _UTF8
        self.pages = os.fstat(self._file.fileno()).st_size // self.page_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, numbers: Int64) -> Bytes:
        """Return pages by number, shape (len(numbers) × page size,) with `_PADDING` zeros on both sides."""
        size = self.page_size
        result = np.empty(len(numbers) * size + 2 * _PADDING, dtype=np.uint8)
        result[:_PADDING] = result[-_PADDING:] = 0
        if len(numbers) and (numbers.min() < 2 or numbers.max() > self.pages):
            raise UnusualPageError
        view = memoryview(result.data)[_PADDING:-_PADDING]
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for first, past in zip([0, *breaks.tolist()], [*breaks.tolist(), len(numbers)], strict=True):
            part = view[first * size : past * size]
            if os.preadv(self._file.fileno(), [part], (int(numbers[first]) - 1) * size) != len(part):
                raise UnusualPageError
        return result

    def leaves(self, root: int) -> Int64:
        """Return the numbers of a table's leaf pages, in order of their rowids."""
        level = np.array([root], dtype=np.int64)
        for _ in range(_DEEPEST_TREE):
            if self.read(level[:1])[_PADDING] == _LEAF:
                return level
            level = np.concatenate([self._children(level[first : first + 64]) for first in range(0, len(level), 64)])
            if len(level) > self.pages or len(np.unique(level)) != len(level):
                raise UnusualPageError
        raise UnusualPageError

    def _children(self, numbers: Int64) -> Int64:
        blocks = self.read(numbers)[_PADDING:-_PADDING].reshape(len(numbers), self.page_size)
        children = []
        for block in blocks:
            count = int.from_bytes(block[3:5].tobytes(), "big")
            if block[0] != _INTERIOR or _INTERIOR_HEADER + 2 * count > self.usable:
                raise UnusualPageError
            cells = block[_INTERIOR_HEADER : _INTERIOR_HEADER + 2 * count].view(">u2").astype(np.int64)
            if count and (cells.min() < _INTERIOR_HEADER + 2 * count or cells.max() > self.usable - 5):
                raise UnusualPageError
            pointers = block[cells[:, None] + np.arange(4)] if count else np.zeros((0, 4), dtype=np.uint8)
            children.append(
                np.append(pointers.copy().view(">u4").reshape(-1), block[8:12].view(">u4")).astype(np.int64)
            )
        return np.concatenate(children)

    def rows(self, root: int, columns: dict[str, int], text: int | None = None) -> Iterator[Rows]:
        """Yield the rows of the table whose tree begins at page `root`.

        Args:
            root: Page number, as `sqlite_master` states it.
            columns: Name → position in the record of each column of integers that is wanted.
            text: Position of the one column of text that is wanted.

        Raises:
            UnusualPageError: At the first chunk of rows that must be asked of SQLite.
        """
        if text is not None and not self.is_utf8:
            raise UnusualPageError
        leaves = self.leaves(root)
        chunks = [leaves[first : first + _PAGES_PER_CHUNK] for first in range(0, len(leaves), _PAGES_PER_CHUNK)]

        def decode(numbers: Int64) -> Rows:
            return self._decode(self.read(numbers), len(numbers), columns, text)

        before: int | None = None
        decoded = map(decode, chunks) if len(chunks) < _THREADS else _ahead(decode, chunks)
        for done, rows in enumerate(decoded, start=1):
            if len(rows.rowid):
                # Rows out of order are a damaged tree, and the caller goes on behind the last rowid it saw.
                if before is not None and rows.rowid[0] <= before:
                    raise UnusualPageError
                before = int(rows.rowid[-1])
                yield replace(rows, share=done / len(chunks))

    def _decode(self, raw: Bytes, pages: int, columns: dict[str, int], text: int | None) -> Rows:
        cell, page_end = self._cells(raw, pages)
        size, at = _varint(raw, cell)
        rowid, payload = _varint(raw, at)
        if (rowid[1:] <= rowid[:-1]).any():
            raise UnusualPageError
        # A record longer than this goes on in overflow pages, and its page holds as much as the format's rule says.
        most, least = self.usable - 35, (self.usable - 12) * 32 // 255 - 23
        long = size > most
        local = size
        if long.any():
            kept = least + (size - least) % (self.usable - 4)
            local = np.where(long, np.where(kept <= most, kept, least), size)
        end = payload + local
        if (end > page_end).any() or (size < 2).any():
            raise UnusualPageError
        # Cells that overlap would let a small file claim a large table.
        if int((end - cell).sum()) > pages * self.usable:
            raise UnusualPageError
        integers, where, apart = _fields(raw, payload, size, end, columns, text)
        texts: list[bytes | None] = []
        if text is not None:
            start, stop = where
            content = raw.tobytes()
            texts = [
                content[begin:finish] if finish >= 0 else None
                for begin, finish in zip(start.tolist(), stop.tolist(), strict=True)
            ]
        return Rows(rowid=rowid, integers=integers, text=texts, apart=np.flatnonzero(apart))

    def _cells(self, raw: Bytes, pages: int) -> tuple[Int64, Int64]:
        """Return where each cell of some leaf pages begins, and where its page ends, as positions in `raw`."""
        base = np.arange(pages, dtype=np.int64) * self.page_size + _PADDING
        count = (raw[base + 3].astype(np.int64) << 8) | raw[base + 4]
        # SQLite itself calls more cells than (page size - 8) / 6 corrupt.
        if (raw[base] != _LEAF).any() or (count > (self.page_size - _LEAF_HEADER) // 6).any():
            raise UnusualPageError
        page = np.repeat(base, count)
        nth = np.arange(len(page), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
        pointer = page + _LEAF_HEADER + 2 * nth
        place = (raw[pointer].astype(np.int64) << 8) | raw[pointer + 1]
        if (place < np.repeat(_LEAF_HEADER + 2 * count, count)).any() or (place > self.usable - 4).any():
            raise UnusualPageError
        return page + place, page + self.usable


def _ahead(decode: Callable[[Int64], Rows], chunks: list[Int64]) -> Iterator[Rows]:
    """Decode chunks in order, a few ahead of the reader: numpy lets threads run side by side."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[Rows]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(decode, chunk))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _varint(raw: Bytes, at: Int64) -> tuple[Int64, Int64]:
    """Return variable-length integers of at most eight bytes, and where each ends."""
    first = raw.take(at, mode="clip")
    value = (first & 0x7F).astype(np.int64)
    at = at + 1
    more = first >= 0x80
    for _ in range(7):
        if not more.any():
            return value, at
        if more.all():
            byte = raw.take(at, mode="clip")
            value = (value << 7) | (byte & 0x7F)
            at = at + 1
            more = byte >= 0x80
        else:
            some = np.flatnonzero(more)
            byte = raw.take(at[some], mode="clip")
            value[some] = (value[some] << 7) | (byte & 0x7F)
            at[some] += 1
            more[some] = byte >= 0x80
    if more.any():
        raise UnusualPageError  # nine bytes: a negative rowid or a size beyond all files
    return value, at


def _fields(
    raw: Bytes, payload: Int64, size: Int64, end: Int64, columns: dict[str, int], text: int | None
) -> tuple[dict[str, Int64], tuple[Int64, Int64], npt.NDArray[np.bool_]]:
    """Decode records: columns, where the text begins and ends (-1: no text), and which rows lie partly elsewhere."""
    header, at = _varint(raw, payload)
    header_end, body = payload + header, payload + header
    if (header_end > end).any():
        raise UnusualPageError
    apart = np.zeros(len(payload), dtype=np.bool_)
    integers: dict[str, Int64] = {}
    where = (payload, payload)
    names = {position: name for name, position in columns.items()}
    eight = np.ndarray((len(raw) - 7,), dtype=">i8", buffer=raw.data, strides=(1,))
    for position in range(max([*names, -1 if text is None else text]) + 1):
        if (at >= header_end).any():
            raise UnusualPageError  # a row older than the column: SQLite knows its default
        serial, at, width = _serial(raw, at)
        if position in names:
            apart |= body + width > end
            integers[names[position]] = _integers(raw, eight, serial, np.minimum(body + width, end))
        elif position == text:
            apart |= body + width > end
            is_text = (serial >= _FIRST_VARIABLE) & (serial & 1 == 1)
            where = (body, np.where(is_text, np.minimum(body + width, end), -1))
        body = body + width
    if (at > header_end).any() or (body > payload + size).any():
        raise UnusualPageError
    return integers, where, apart


def _serial(raw: Bytes, at: Int64) -> tuple[npt.NDArray[np.int64] | Bytes, Int64, Int64 | np.int64]:
    """Return the serial types at some positions, where the next ones stand, and how many bytes the values take."""
    code = raw.take(at, mode="clip")
    highest = code.max(initial=0)
    if highest >= 0x80:
        serial, at = _varint(raw, at)
        if ((serial == 10) | (serial == 11)).any():
            raise UnusualPageError
        return serial, at, np.where(serial < _FIRST_VARIABLE, _SIZE.take(serial, mode="clip"), (serial - 12) >> 1)
    if highest >= 10 and ((code == 10) | (code == 11)).any():
        raise UnusualPageError
    return code, at + 1, _SIZE[highest] if code.min(initial=highest) == highest else _SIZE.take(code)


def _integers(raw: Bytes, eight: npt.NDArray[np.int64], serial: npt.NDArray[Any], stop: Int64) -> Int64:
    """Return big-endian integers that end at `stop`."""
    lowest, highest = int(serial.min(initial=_ONE)), int(serial.max(initial=0))
    if lowest == highest:  # the same size all along, as in most columns
        if lowest in {_ZERO, _ONE}:
            return np.full(len(stop), lowest == _ONE, dtype=np.int64)
        if lowest == 1:
            return raw.take(stop - 1).view(np.int8).astype(np.int64)
        if 1 < lowest < _REAL:
            return (eight[stop - 8].astype(np.int64) << int(_SHIFT[lowest])) >> int(_SHIFT[lowest])
    shift = _SHIFT.take(serial, mode="clip")
    value = (eight[stop - 8].astype(np.int64) << shift) >> shift
    value[serial == _ZERO] = 0
    value[serial == _ONE] = 1
    if lowest == 0 or highest >= _REAL:
        value[(serial == 0) | (serial == _REAL) | (serial >= _FIRST_VARIABLE)] = NULL
    return value
