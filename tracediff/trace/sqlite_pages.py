"""Read columns of an SQLite table straight from its b-tree pages, many rows at a time.

SQLite hands out one row after another, and over 1 µs per row goes into Python objects; the records themselves are
simple (https://www.sqlite.org/fileformat2.html, "B-tree Pages" and "Record Format") and decode in numpy, column by
column, at 0.1–0.2 µs per row. Only the plain case is read here: a table with rowids, whole records on one page.
Whatever else a page holds raises `UnusualPageError`, and the caller asks SQLite instead.

What is read here is what SQLite would return, because of every page that is visited it is checked that

- it lies in the file, is visited once, and has the type that its level of the tree requires; only a root may be empty;
- cells, free blocks and fragments tile its content area exactly: no cell was lost, none overlaps another;
- its rowids ascend, and lie between the keys that lead to it;
- each record's header and values end where they state, as far as they are read, and the values are of the type that
  is asked for, or NULL.

A page that breaks one of these rules raises `DamagedPageError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tracediff.trace.columns import NULL, Rows, TextColumn, distinct_of
from tracediff.trace.table import Int64

Bytes = npt.NDArray[np.uint8]

_INTERIOR, _LEAF = 5, 13
_LEAF_HEADER, _INTERIOR_HEADER = 8, 12
_PAGES_PER_CHUNK = 512
_INTERIOR_PAGES_AT_ONCE = 64
_THREADS = 2
#: Bytes of zeros around a chunk, so that eight bytes may be read anywhere near its ends.
_PADDING = 16
#: Bytes a value of each serial type takes; 10 and 11 are reserved.
_SIZE = np.array([0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0] + [(code - 12) // 2 for code in range(12, 256)], dtype=np.int64)
#: By how much eight bytes that end in an integer are shifted to leave it alone, per serial type.
_SHIFT = np.array([0, 56, 48, 40, 32, 16, 0, 0, 0, 0], dtype=np.int64)
_EIGHT_BYTES, _REAL, _ZERO, _ONE, _FIRST_VARIABLE = 6, 7, 8, 9, 12
_DEEPEST_TREE = 20
_UTF8 = 1
#: SQLite locks bytes of this page, so it holds nothing.
_LOCK_BYTE = 1 << 30
_LONGEST_RECORD = (1 << 31) - 1
_HIGHEST_KEY = np.iinfo(np.int64).max


class UnusualPageError(Exception):
    """A page holds something that this reader leaves to SQLite."""


class DamagedPageError(UnusualPageError):
    """A page breaks a rule of the format, so SQLite must say whether it is sound before it reads the table."""


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
        if header[24:28] == header[92:96]:  # else written by an SQLite that keeps no count
            self.pages = min(self.pages, int.from_bytes(header[28:32], "big"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, numbers: Int64) -> Bytes:
        """Return pages by number, shape (len(numbers) × page size,) with `_PADDING` zeros on both sides."""
        size = self.page_size
        result = np.empty(len(numbers) * size + 2 * _PADDING, dtype=np.uint8)
        result[:_PADDING] = result[-_PADDING:] = 0
        if len(numbers) and (numbers.min() < 2 or numbers.max() > self.pages):
            raise DamagedPageError
        if (numbers == _LOCK_BYTE // size + 1).any():
            raise DamagedPageError
        view = memoryview(result.data)[_PADDING:-_PADDING]
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for first, past in zip([0, *breaks.tolist()], [*breaks.tolist(), len(numbers)], strict=True):
            part = view[first * size : past * size]
            if os.preadv(self._file.fileno(), [part], (int(numbers[first]) - 1) * size) != len(part):
                raise UnusualPageError
        return result

    def leaves(self, root: int) -> tuple[Int64, Int64]:
        """Return the numbers of a table's leaf pages, in order of their rowids, and the highest rowid each may hold."""
        level, highest = np.array([root], dtype=np.int64), np.array([_HIGHEST_KEY])
        for _ in range(_DEEPEST_TREE):
            if self.read(level[:1])[_PADDING] == _LEAF:
                return level, highest
            parts = []
            for first in range(0, len(level), _INTERIOR_PAGES_AT_ONCE):
                raw = self.read(level[first : first + _INTERIOR_PAGES_AT_ONCE])
                for page in range(_PADDING, len(raw) - _PADDING, self.page_size):
                    parts.append(self._children(raw, page, int(highest[first + page // self.page_size])))
            level, highest = (np.concatenate(each) for each in zip(*parts, strict=True))
            if len(level) > self.pages or len(distinct_of(level)) != len(level):
                raise DamagedPageError
            if (highest[1:] <= highest[:-1]).any():
                raise DamagedPageError
        raise DamagedPageError

    def _children(self, raw: Bytes, page: int, highest: int) -> tuple[Int64, Int64]:
        """Return the children of the interior page at position `page` of `raw`, and the highest rowid of each."""
        count = int(raw[page + 3]) << 8 | int(raw[page + 4])
        if raw[page] != _INTERIOR or not count or _INTERIOR_HEADER + 2 * count > self.usable:
            raise DamagedPageError
        pointers = raw[page + _INTERIOR_HEADER : page + _INTERIOR_HEADER + 2 * count].view(">u2").astype(np.int64)
        if pointers.min() < _INTERIOR_HEADER + 2 * count or pointers.max() > self.usable - 5:
            raise DamagedPageError
        cell = page + pointers
        key, end = _varint(raw, cell + 4)
        self._require_tiled(raw, page, cell, end)
        child = raw[cell[:, None] + np.arange(4)].view(">u4").reshape(-1)
        last = raw[page + 8 : page + 12].view(">u4")
        return np.append(child, last).astype(np.int64), np.append(key, highest)

    def _require_tiled(self, raw: Bytes, page: int, cell: Int64, end: Int64) -> None:
        """Raise unless the cells of one page, its free blocks and its fragments fill the content area exactly."""
        content = int(raw[page + 5]) << 8 | int(raw[page + 6]) or 65536
        taken = [(content, content), *zip((cell - page).tolist(), (end - page).tolist(), strict=True)]
        block = int(raw[page + 1]) << 8 | int(raw[page + 2])
        while block:
            if block > self.usable - 4:
                raise DamagedPageError
            following, length = (int(raw[page + block + at]) << 8 | int(raw[page + block + at + 1]) for at in (0, 2))
            if following and following <= block:
                raise DamagedPageError
            taken.append((block, block + length))
            block = following
        taken.sort()
        gaps = [begin - finish for (_, finish), (begin, _) in pairwise([*taken, (self.usable, self.usable)])]
        if min(gaps) < 0 or sum(gaps) != raw[page + 7] or taken[0] != (content, content):
            raise DamagedPageError

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
        leaves, highest = self.leaves(root)
        parts = [slice(first, first + _PAGES_PER_CHUNK) for first in range(0, len(leaves), _PAGES_PER_CHUNK)]

        def decode(part: slice) -> Rows:
            return self._decode(self.read(leaves[part]), highest[part], columns, text)

        before: int | None = None
        decoded: Iterator[Rows] = map(decode, parts)
        if len(parts) >= _THREADS:
            from tracediff.trace.ahead import ahead  # noqa: PLC0415 -- small traces are one part

            decoded = ahead(decode, parts, _THREADS)
        for done, rows in enumerate(decoded, start=1):
            if len(rows.rowid):
                if before is not None and rows.rowid[0] <= before:
                    raise DamagedPageError
                before = int(highest[parts[done - 1]][-1])
                yield replace(rows, share=done / len(parts))
            elif len(leaves) > 1:
                raise DamagedPageError

    def _decode(self, raw: Bytes, highest: Int64, columns: dict[str, int], text: int | None) -> Rows:
        pages = _PADDING + np.arange(len(highest), dtype=np.int64) * self.page_size
        count = self._cell_counts(raw, pages)
        past = np.cumsum(count)
        of_page = np.repeat(np.arange(len(pages)), count)
        cell = self._cells(raw, pages, count, of_page)
        size, at = _varint(raw, cell)
        rowid, payload = _varint(raw, at)
        if (size < 2).any() or (size > _LONGEST_RECORD).any():
            raise DamagedPageError
        # A record longer than this goes on in overflow pages, and its page holds as much as the format's rule says.
        most, least = self.usable - 35, (self.usable - 12) * 32 // 255 - 23
        long = size > most
        end = payload + size
        if long.any():
            kept = least + (size - least) % (self.usable - 4)
            end = np.where(long, payload + np.where(kept <= most, kept, least), end)
            taken = end + 4 * long  # the number of the first overflow page follows what is kept
        else:
            taken = end
        self._require_whole(raw, pages, past, cell, taken)
        if len(count) and len(rowid):
            first, last = rowid[past - count], rowid[past - 1]
            if (rowid[1:] <= rowid[:-1]).any() or (last > highest).any() or (first[1:] <= highest[:-1]).any():
                raise DamagedPageError
        integers, where, apart = _fields(raw, payload, size, end, columns, text)
        texts = TextColumn(raw.tobytes(), *where) if text is not None else None
        return Rows(rowid=rowid, integers=integers, text=texts, apart=np.flatnonzero(apart))

    def _cell_counts(self, raw: Bytes, pages: Int64) -> Int64:
        count = (raw[pages + 3].astype(np.int64) << 8) | raw[pages + 4]
        # SQLite itself calls more cells than (page size - 8) / 6 corrupt.
        if (raw[pages] != _LEAF).any() or (count > (self.page_size - _LEAF_HEADER) // 6).any():
            raise DamagedPageError
        if len(pages) > 1 and not count.all():
            raise DamagedPageError
        return count

    def _cells(self, raw: Bytes, pages: Int64, count: Int64, of_page: Int64) -> Int64:
        """Return where each cell of some leaf pages begins, as a position in `raw`."""
        page = pages[of_page]
        nth = np.arange(len(page), dtype=np.int64) - (np.cumsum(count) - count)[of_page]
        pointer = page + _LEAF_HEADER + 2 * nth
        place = (raw[pointer].astype(np.int64) << 8) | raw[pointer + 1]
        if (place < (_LEAF_HEADER + 2 * count)[of_page]).any() or (place > self.usable - 4).any():
            raise DamagedPageError
        cells: Int64 = page + place
        return cells

    def _require_whole(self, raw: Bytes, pages: Int64, past: Int64, cell: Int64, end: Int64) -> None:
        """Raise unless the cells fill each page's content area: one behind the other, as appended, or in any order."""
        before = np.empty_like(end)  # where the cell must end, if cells were only ever appended
        before[1:] = cell[:-1]
        first = np.append(0, past[:-1])[: len(past)]
        empty = past == first
        before[first[~empty]] = (pages + self.usable)[~empty]
        content = (raw[pages + 5].astype(np.int64) << 8) | raw[pages + 6]
        content[content == 0] = 65536
        lowest = np.append(cell, 0)[past - 1] - pages
        lowest[empty] = self.usable
        appended = lowest == content
        appended[np.searchsorted(past, np.flatnonzero(end != before), side="right")] = False
        appended &= (raw[pages + 1] == 0) & (raw[pages + 2] == 0) & (raw[pages + 7] == 0)
        for index in np.flatnonzero(~appended).tolist():
            mine = slice(int(first[index]), int(past[index]))
            self._require_tiled(raw, int(pages[index]), cell[mine], end[mine])


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
        raise DamagedPageError if (header > size).any() else UnusualPageError
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
            if not (is_text | (serial == 0)).all():
                raise UnusualPageError  # a number or bytes
            where = (body, np.where(is_text, np.minimum(body + width, end), -1))
        body = body + width
    # Values end within the record, and those of a header that ends here end with it.
    beyond = (at > header_end) | (body > payload + size) | ((at == header_end) & (body != payload + size))
    if beyond.any():
        raise DamagedPageError
    return integers, where, apart


def _serial(raw: Bytes, at: Int64) -> tuple[npt.NDArray[np.int64] | Bytes, Int64, Int64 | np.int64]:
    """Return the serial types at some positions, where the next ones are, and how many bytes the values take."""
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
    if highest >= _FIRST_VARIABLE or (highest >= _REAL and (serial == _REAL).any()):
        raise UnusualPageError  # no integer
    if lowest == highest:  # the same size all along, as in most columns
        if lowest in {_ZERO, _ONE}:
            return np.full(len(stop), lowest == _ONE, dtype=np.int64)
        if lowest == 1:
            return raw.take(stop - 1).view(np.int8).astype(np.int64)
        if 1 < lowest < _REAL:
            value = (eight[stop - 8].astype(np.int64) << int(_SHIFT[lowest])) >> int(_SHIFT[lowest])
            if lowest == _EIGHT_BYTES and (value == NULL).any():
                raise UnusualPageError  # the number that means NULL here
            return value
    shift = _SHIFT.take(serial, mode="clip")
    value = (eight[stop - 8].astype(np.int64) << shift) >> shift
    if highest >= _EIGHT_BYTES and ((value == NULL) & (serial == _EIGHT_BYTES)).any():
        raise UnusualPageError
    value[serial == _ZERO] = 0
    value[serial == _ONE] = 1
    if lowest == 0:
        value[serial == 0] = NULL
    return value
