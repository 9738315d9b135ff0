"""Columns of a trace as numpy arrays, whatever kind of file they come from: never one Python object per row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracediff.errors import TracediffError
from tracediff.trace.limits import MAX_TEXTS, limit_bytes
from tracediff.trace.table import Int32, Int64

#: NULL in a column of integers. A file that holds the number itself is refused, and so is what is no integer.
NULL = np.iinfo(np.int64).min

#: Times beyond this (127 years in ns) are refused: differences of two others fit into 64 bits.
LONGEST_TIME_NS = 4 * 10**18
_TIMES = frozenset({"start", "end"})
#: Numbers below this are coded by a table instead of a search, where it is not much longer than what it codes.
_DIRECT_CODES = 1 << 20
_MOST_OF_TABLE = 16


class Rows(Struct, frozen=True, kw_only=True):
    """Some rows of a table, in the order of the file.

    Attributes:
        rowid: Of each row; zeros where the file has none.
        integers: Column → values, `NULL` where the row holds none.
        text: The column of text that was asked for, None where none was.
        apart: Positions of rows that continue on other pages; SQLite is asked for their values.
        share: How much of the table has been read including these rows; 0.5 if unknown.
    """

    rowid: Int64
    integers: dict[str, Int64]
    text: TextColumn | None
    apart: Int64
    share: float = 0.5


class TextColumn:
    """Texts as the file holds them; bytes objects are made only of those that are asked for.

    Args:
        content: Bytes that hold all texts.
        start: Where each text begins.
        stop: Where each text ends, -1 for none.
    """

    def __init__(self, content: bytes, start: Int64, stop: Int64) -> None:
        self._content = content
        self._start = start
        self._stop = stop

    @classmethod
    def of(cls, texts: list[bytes | None]) -> TextColumn:
        """Make a column of texts."""
        length = np.array([0 if each is None else len(each) for each in texts], dtype=np.int64)
        start = np.cumsum(length) - length
        stop = np.where([each is None for each in texts], -1, start + length).astype(np.int64)
        return cls(b"".join(each for each in texts if each is not None), start, stop)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether each row has a text."""
        return self._stop >= 0

    def take(self, rows: Int64) -> list[bytes | None]:
        """Return the texts of some rows, None for none."""
        content = self._content
        bounds = zip(self._start[rows].tolist(), self._stop[rows].tolist(), strict=True)
        return [content[start:stop] if stop >= 0 else None for start, stop in bounds]

    def __getitem__(self, row: int) -> bytes | None:
        return self.take(np.array([row]))[0]

    def picked(self, rows: Int64) -> TextColumn:
        """Return a column of these rows' texts; a row may occur any number of times."""
        return TextColumn(self._content, self._start[rows], self._stop[rows])

    def replaced(self, rows: Int64, texts: list[bytes | None]) -> TextColumn:
        """Return the column with other texts in some rows."""
        added = TextColumn.of(texts)
        start, stop = self._start.copy(), self._stop.copy()
        start[rows] = added._start + len(self._content)
        stop[rows] = np.where(added.present, added._stop + len(self._content), -1)
        return TextColumn(self._content + added._content, start, stop)


def distinct_of(values: Int64) -> Int64:
    """Return the distinct values in order. (`np.unique` hashes, which takes ten times as long for a few values.)"""
    if not len(values) or values.min() == values.max():
        return values[:1]
    ordered = np.sort(values)
    new = np.append(True, ordered[1:] != ordered[:-1])
    distinct: Int64 = ordered[new]
    return distinct


def distinct_and_places(values: Int64) -> tuple[Int64, Int64]:
    """Return the distinct values in order, and where each value is among them; fast if most are in order."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.append(True, ordered[1:] != ordered[:-1])[: len(values)]
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.cumsum(new) - 1
    return ordered[new], place


def count_codes(codes: Int32, distinct: int) -> Int64:
    """Return how often each code occurs; `np.bincount` would make 64-bit numbers of all of them at once."""
    parts = (codes[first : first + _DIRECT_CODES] for first in range(0, len(codes), _DIRECT_CODES))
    return sum((np.bincount(part, minlength=distinct) for part in parts), start=np.zeros(distinct, dtype=np.int64))


def first_places(codes: Int32, distinct: int) -> Int64:
    """Return where each code occurs first; the number of all codes for one that does not occur."""
    first = np.full(distinct, len(codes), dtype=np.int64)
    for start in reversed(range(0, len(codes), _DIRECT_CODES)):
        backwards = codes[start : start + _DIRECT_CODES][::-1]
        first[backwards] = np.arange(start + len(backwards) - 1, start - 1, -1)  # numpy keeps the last that is written
    return first


def count_up_to(ascending: Int64, moment: Int64) -> Int64:
    """Return for each moment how many of some ascending values are not above it."""
    if len(ascending) <= len(moment) and (moment[1:] >= moment[:-1]).all():
        # Both follow the clock: each value is first counted at the first moment that is not before it.
        first = np.searchsorted(moment, ascending, side="left")
        return np.cumsum(np.bincount(first, minlength=len(moment) + 1)[: len(moment)], dtype=np.int64)
    return np.searchsorted(ascending, moment, side="right")


class Growing:
    """Columns that grow chunk by chunk. Room for the rest is reserved from what the first chunks took: a table is never
    held twice while its chunks are joined. A column with a single value takes no memory.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        #: Columns that have had one value so far.
        self._constants: dict[str, npt.NDArray[Any]] = {}
        self._count = 0

    def add(self, chunk: dict[str, npt.NDArray[Any]], share: float) -> None:
        """Append equally long columns, with which `share` of all is there."""
        past = self._count + len(next(iter(chunk.values())))
        if past == self._count:
            return
        # A little more than foretold; a hundredfold at most, whatever a file's first pages promise.
        room = int(past * min(1.02 / share, 100)) + 1
        for name, values in chunk.items():
            if not self._is_constant(name, values):
                self._with_room(name, values, past, room)[self._count : past] = values
        self._count = past

    def _is_constant(self, name: str, values: npt.NDArray[Any]) -> bool:
        if name in self._arrays or values.ndim > 1:
            return False
        value = self._constants.setdefault(name, values[:1].copy())
        return bool((values == value).all())

    def _with_room(self, name: str, values: npt.NDArray[Any], past: int, room: int) -> npt.NDArray[Any]:
        array = self._arrays.get(name)
        if array is None or past > len(array):
            grown = np.empty((room, *values.shape[1:]), dtype=values.dtype)
            if array is not None:
                grown[: self._count] = array[: self._count]
            elif name in self._constants:
                grown[: self._count] = self._constants.pop(name)
            array = self._arrays[name] = grown
        return array

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns; those of one value cannot be written to."""
        constants = {name: np.broadcast_to(value, self._count) for name, value in self._constants.items()}
        return {name: array[: self._count] for name, array in self._arrays.items()} | constants


class Codes:
    """Small integers in place of values: 0, 1, … in order of first appearance."""

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}
        #: Code of each small number that was seen, -1 of others.
        self._direct = np.full(0, -1, dtype=np.int32)

    @property
    def values(self) -> list[int]:
        """The value of each code."""
        return list(self._codes)

    def of(self, values: Int64) -> Int32:
        """Return the code of each value."""
        if not len(values):
            return np.zeros(0, dtype=np.int32)
        lowest, highest = int(values.min()), int(values.max())
        if lowest >= 0 and lowest < highest < min(_DIRECT_CODES, max(_MOST_OF_TABLE * len(values), len(self._direct))):
            return self._of_small(values, highest)
        distinct = distinct_of(values)
        codes = [self._codes.setdefault(value, len(self._codes)) for value in distinct.tolist()]
        if len(codes) == 1:
            return np.full(len(values), codes[0], dtype=np.int32)
        return np.array(codes, dtype=np.int32)[np.searchsorted(distinct, values)]

    def _of_small(self, values: Int64, highest: int) -> Int32:
        if highest >= len(self._direct):
            self._direct = np.append(self._direct, np.full(highest + 1 - len(self._direct), -1, dtype=np.int32))
        codes = self._direct[values]
        if (codes < 0).any():
            for value in distinct_of(values[codes < 0]).tolist():
                self._direct[value] = self._codes.setdefault(value, len(self._codes))
            codes = self._direct[values]
        return codes


class Texts:
    """Distinct texts, in order of first appearance, and their codes."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._raw: dict[bytes, int] = {}
        self._left = limit_bytes(MAX_TEXTS)

    @property
    def values(self) -> tuple[str, ...]:
        """The text of each code."""
        return tuple(self._codes)

    def code(self, text: str) -> int:
        """Return the code of a text; texts beyond `MAX_TEXTS` together raise TracediffError."""
        code = self._codes.get(text)
        if code is None:
            self._left -= len(text)
            if self._left < 0:
                raise TracediffError(
                    f"the distinct names and range texts are longer than {limit_bytes(MAX_TEXTS) >> 20} MB together",
                    f"if they are meant to be, set {MAX_TEXTS}",
                )
            code = self._codes[text] = len(self._codes)
        return code

    def of_bytes(self, raw: list[bytes | None]) -> Int32:
        """Return the code of each text as the file holds it; -1 for none."""
        known = self._raw
        codes = np.full(len(raw), -1, dtype=np.int32)
        for index, each in enumerate(raw):
            if each is not None:
                code = known.get(each)
                if code is None:
                    code = known[each] = self.code(each.decode("utf-8", errors="replace"))
                codes[index] = code
        return codes

    def of_rows(self, column: TextColumn | None, rows: Int64) -> Int32:
        """Return the code of the text of some rows of a column; -1 for none."""
        codes = np.full(len(rows), -1, dtype=np.int32)
        if column is not None:
            has = np.flatnonzero(column.present[rows])
            codes[has] = self.of_bytes(column.take(rows[has]))
        return codes


class Source(Protocol):
    """An nsys export of any format: tables of integers, and strings by id."""

    @property
    def path(self) -> Path:
        """The file or folder as the user named it."""

    @property
    def tables(self) -> frozenset[str]:
        """Names of all tables."""

    def has(self, table: str, *columns: str) -> bool:
        """Whether the export has the table with all these columns."""

    def chunks(self, table: str, columns: tuple[str, ...], text: str | None = None) -> Iterator[Rows]:
        """Yield a table in chunks of rows, in the order of the file; `NULL` where the table lacks a column."""

    def small(self, table: str, *columns: str) -> list[tuple[object, ...]]:
        """Return columns of a table that describes the export; its first rows, if it has more than one would expect."""

    def count(self, table: str) -> int:
        """Return the number of a table's rows, 0 where the export lacks it."""

    def strings(self, ids: list[int]) -> list[str]:
        """Return the text of each string id; an id without a row reads `<string 7 missing>`, NULL an empty text."""


def whole_columns(source: Source, table: str, columns: tuple[str, ...]) -> dict[str, Int64]:
    """Return whole columns of integers; `NULL` where a row holds none and for columns the table lacks."""
    parts = [rows.integers for rows in source.chunks(table, columns)]
    return {
        column: np.concatenate([part[column] for part in parts]) if parts else np.zeros(0, dtype=np.int64)
        for column in columns
    }


def checked(rows: Rows, path: Path, table: str) -> Rows:
    """Return rows whose times are times: their differences fit into 64 bits.

    Raises:
        TracediffError: One lies beyond `LONGEST_TIME_NS`.
    """
    for column in _TIMES & rows.integers.keys():
        values = rows.integers[column]
        if len(values) and (values.min() < -LONGEST_TIME_NS or values.max() > LONGEST_TIME_NS):
            known = values[values != NULL]
            if len(known) and (known.min() < -LONGEST_TIME_NS or known.max() > LONGEST_TIME_NS):
                raise TracediffError(f"{path}: {table} holds a time beyond 127 years", "export the report again")
    return rows


def null_number(path: Path, table: str) -> TracediffError:
    """Return the error that says that a table holds the number that means NULL here."""
    return TracediffError(f"{path}: {table} holds the number {NULL}", "export the report again")


def mistyped_value(path: Path, table: str) -> TracediffError:
    """Return the error that says that a table holds what is of another type than nsys gives the column."""
    return TracediffError(f"{path}: {table} holds a value of another type than nsys writes", "export the report again")


def strings_by_id(source: Source, ids: list[int]) -> list[str]:
    """Return the text of each string id; an id without a row reads `<string 7 missing>`, NULL an empty text."""
    wanted = distinct_of(np.array(ids, dtype=np.int64))
    texts = {NULL: ""}
    for rows in source.chunks("StringIds", ("id",), "value"):
        identity = rows.integers["id"]
        if rows.text is None or not len(wanted):
            break
        place = np.minimum(np.searchsorted(wanted, identity), len(wanted) - 1)
        found = np.flatnonzero((wanted[place] == identity) & (identity != NULL) & rows.text.present)
        for each, raw in zip(identity[found].tolist(), rows.text.take(found), strict=True):
            texts[each] = (raw or b"").decode("utf-8", errors="replace")
    return [texts.get(identity, f"<string {identity} missing>") for identity in ids]


_INT32 = np.iinfo(np.int32)


def narrow(values: Int64) -> Int32:
    """Return a column as 32-bit numbers: NULL as 0, and what is beyond them as the nearest one."""
    if len(values) and _INT32.min <= values.min() and values.max() <= _INT32.max:
        return values.astype(np.int32)
    return np.where(values == NULL, 0, np.clip(values, _INT32.min, _INT32.max)).astype(np.int32)


def count_beyond_32_bits(values: Int64) -> int:
    """Count the numbers that `narrow` changes, NULL aside."""
    if not len(values) or (_INT32.min <= values.min() and values.max() <= _INT32.max):
        return 0
    return int(((values > _INT32.max) | ((values < _INT32.min) & (values != NULL))).sum())
