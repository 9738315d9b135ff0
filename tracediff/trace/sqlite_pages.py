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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tracediff.trace.columns import NULL, Rows, TextColumn, distinct_of
from tracediff.trace.table import Bool, Int64

Bytes = npt.NDArray[np.uint8]

_INTERIOR, _LEAF = 5, 13
_LEAF_HEADER, _INTERIOR_HEADER = 8, 12
_PAGES_PER_CHUNK = 512
_INTERIOR_PAGES_AT_ONCE = 64
_THREADS = 2
#: Bytes of zeros around a chunk, so that as many may be taken out anywhere near its end.
_PADDING = 48
#: Bytes a value of each serial type takes, of those that a byte holds; 10 and 11 are reserved.
_SIZE = np.array([0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0] + [(code - 12) // 2 for code in range(12, 256)], dtype=np.int64)
#: By how much eight bytes that begin with an integer are shifted to leave it alone, per serial type.
_SHIFT = np.array([0, 56, 48, 40, 32, 16, 0, 0, 0, 0], dtype=np.int64)
_EIGHT_BYTES, _REAL, _ZERO, _ONE, _FIRST_VARIABLE = 6, 7, 8, 9, 12
_RESERVED = (10, 11)
#: A serial type from here on takes several bytes.
_FIRST_LONG = 0x80
#: The value that a serial type itself states.
_STATED = {0: NULL, _ZERO: 0, _ONE: 1}
#: Serial types of integers that numpy knows.
_WHOLE = {1: "i1", 2: ">i2", 4: ">i4", _EIGHT_BYTES: ">i8"}
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


class _Cursor:
    """A place in each of some records, from which values are taken column by column.

    Records are mostly alike, so a column is as far behind the one before it in all of them: the bytes ahead of a place
    are taken out of the pages once, and columns are cut from them.

    Args:
        raw: The pages, with `_PADDING` bytes behind them.
        at: The place in each record.
    """

    def __init__(self, raw: Bytes, at: Int64) -> None:
        self._raw = raw
        self._from = at
        self._passed = 0
        self._ahead: Bytes | None = None

    @property
    def at(self) -> Int64:
        """The place in each record."""
        return self._from + self._passed

    def move(self, width: Int64 | int) -> None:
        """Move on by a number of bytes, the same in all records or one for each."""
        if isinstance(width, int):
            self._passed += width
        else:
            self.jump(self.at + width)

    def jump(self, at: Int64) -> None:
        """Go to another place in each record."""
        self._from, self._passed, self._ahead = at, 0, None

    def values(self, dtype: str) -> npt.NDArray[Any]:
        """Return the numbers of at most eight bytes that begin at the place; any where a record ends before."""
        if self._ahead is None or self._passed > _PADDING - 8:
            self.jump(self.at)
            last = len(self._raw) - _PADDING
            everywhere = np.ndarray((last + 1,), dtype=f"V{_PADDING}", buffer=self._raw.data, strides=(1,))
            ahead = everywhere[np.minimum(self._from, last)]
            self._ahead = ahead.view(np.uint8).reshape(len(ahead), _PADDING)
        there = self._ahead[:, self._passed : self._passed + np.dtype(dtype).itemsize]
        return there.view(dtype)[:, 0]


def _fields(
    raw: Bytes, payload: Int64, size: Int64, end: Int64, columns: dict[str, int], text: int | None
) -> tuple[dict[str, Int64], tuple[Int64, Int64], Bool]:
    """Decode records: columns, where the text begins and ends (-1: no text), and which rows lie partly elsewhere."""
    length, at = _varint(raw, payload)
    header_end = payload + length
    if (header_end > end).any():
        raise DamagedPageError if (length > size).any() else UnusualPageError
    goes_on = end < payload + size
    some_go_on = bool(goes_on.any())
    apart = np.zeros(len(payload), dtype=np.bool_)
    integers: dict[str, Int64] = {}
    where = (payload, payload)
    names = {position: name for name, position in columns.items()}
    header, body = _Cursor(raw, at), _Cursor(raw, header_end)
    left = int((header_end - at).min(initial=_LONGEST_RECORD))
    for position in range(max([*names, -1 if text is None else text]) + 1):
        if left < 1:
            raise UnusualPageError  # a row older than the column: SQLite knows its default
        serials = _serials(raw, header)
        left = left - 1 if serials.highest < _FIRST_LONG else int((header_end - header.at).min())
        width = serials.width()
        if some_go_on and (position in names or position == text):
            apart |= goes_on & (body.at + width > end)
        if position in names:
            integers[names[position]] = _integers(body, serials)
        elif position == text:
            is_text = (serials.code >= _FIRST_VARIABLE) & (serials.code & 1 == 1)
            if not (is_text | (serials.code == 0)).all():
                raise UnusualPageError  # a number or bytes
            where = (body.at, np.where(is_text, np.minimum(body.at + width, end), -1))
        body.move(width)
    # Values end within the record, and those of a header that ends here end with it.
    at, body_end = header.at, body.at
    beyond = (at > header_end) | (body_end > payload + size) | ((at == header_end) & (body_end != payload + size))
    if beyond.any():
        raise DamagedPageError
    return integers, where, apart


class _Serials(NamedTuple):
    """The serial types of one column in some records, and the lowest and highest of them."""

    code: Bytes | Int64
    lowest: int
    highest: int

    def width(self) -> Int64 | int:
        """Return how many bytes the values take; one number where that is the same for all."""
        if self.highest >= len(_SIZE):
            small = _SIZE.take(self.code, mode="clip")
            return np.where(self.code < _FIRST_VARIABLE, small, (self.code - _FIRST_VARIABLE) >> 1)
        if self.lowest == self.highest or (self.lowest >= _ZERO and self.highest <= _ONE):
            return int(_SIZE[self.highest])
        return _SIZE.take(self.code)


def _serials(raw: Bytes, header: _Cursor) -> _Serials:
    """Return the serial types at a place in some headers, and move on behind them."""
    code: Bytes | Int64 = header.values("u1").copy()
    highest = int(code.max(initial=0))
    if highest < _FIRST_LONG:
        header.move(1)
    else:
        code, at = _varint(raw, header.at)
        highest = int(code.max())
        header.jump(at)
    if highest >= _RESERVED[0] and np.isin(code, _RESERVED).any():
        raise UnusualPageError
    return _Serials(code, int(code.min(initial=highest)), highest)


def _integers(body: _Cursor, serials: _Serials) -> Int64:
    """Return the big-endian integers that begin at a place in some records."""
    code, lowest, highest = serials
    if highest >= _FIRST_VARIABLE or (highest >= _REAL and (code == _REAL).any()):
        raise UnusualPageError  # no integer
    if lowest == highest and highest in _STATED:  # the same size all along, as in most columns
        return np.full(len(code), _STATED[highest], dtype=np.int64)
    if lowest == highest and highest in _WHOLE:
        value = body.values(_WHOLE[highest]).astype(np.int64)
    else:
        value = body.values(">i8").astype(np.int64) >> (_SHIFT[highest] if lowest == highest else _SHIFT.take(code))
    for stating, stated in _STATED.items():
        if lowest <= stating <= highest:
            value[code == stating] = stated
    if highest >= _EIGHT_BYTES and ((value == NULL) & (code == _EIGHT_BYTES)).any():
        raise UnusualPageError  # the number that means NULL here
    return value
