"""Columns out of an nsys export, as numpy arrays: no Python object outlives its row.

Which tables and columns an export has varies with the nsys version, so a query names only what is there. Large tables
are read from the file's pages (`sqlite_pages`, 5 to 10 times faster); SQLite itself reads every table in another form
than nsys writes, and goes on wherever a page is out of the ordinary.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tracediff.errors import TracediffError
from tracediff.trace.open_export import SQLITE_ERRORS, damaged
from tracediff.trace.sqlite_pages import NULL, PageFile, Rows, UnusualPageError
from tracediff.trace.table import Int32, Int64

__all__ = [
    "NULL",
    "Codes",
    "Export",
    "Growing",
    "Rows",
    "Source",
    "Texts",
    "distinct_of",
    "strings_by_id",
    "whole_columns",
]

#: Rows that SQLite hands over before they become arrays.
_ROWS_PER_CHUNK = 65536
#: Numbers below this are coded by a table instead of a search.
_DIRECT_CODES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the export's schema says of one table.

    Attributes:
        root: First page of the table's tree; 0 for a view.
        positions: Column → place in the record.
        plain: Columns that a record holds as they are read: neither generated, nor an alias of the rowid, nor of a
            type that changes numbers.
    """

    root: int
    positions: dict[str, int]
    plain: frozenset[str]


def distinct_of(values: Int64) -> Int64:
    """Return the distinct values in order. (`np.unique` hashes, which takes ten times as long for a few values.)"""
    if not len(values) or values.min() == values.max():
        return values[:1]
    ordered = np.sort(values)
    new = np.append(True, ordered[1:] != ordered[:-1])
    distinct: Int64 = ordered[new]
    return distinct


class Growing:
    """Columns that grow chunk by chunk. Room for the rest is set aside as the first chunks foretell it: a table is held
    once, not a second time while its chunks are joined.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._count = 0

    def add(self, chunk: dict[str, npt.NDArray[Any]], share: float) -> None:
        """Append equally long columns, with which `share` of all is there."""
        past = self._count + len(next(iter(chunk.values())))
        for name, values in chunk.items():
            array = self._arrays.get(name)
            if array is None or past > len(array):
                # A little more than foretold; a hundredfold at most, whatever a file's first pages promise.
                room = int(past * min(1.02 / share, 100)) + 1
                grown = np.empty((room, *values.shape[1:]), dtype=values.dtype)
                if array is not None:
                    grown[: self._count] = array[: self._count]
                array = self._arrays[name] = grown
            array[self._count : past] = values
        self._count = past

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns."""
        return {name: array[: self._count] for name, array in self._arrays.items()}


class Codes:
    """Numbers small integers stand for: 0, 1, … in order of first appearance."""

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
        if lowest >= 0 and lowest < highest < _DIRECT_CODES:
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

    @property
    def values(self) -> tuple[str, ...]:
        """The text of each code."""
        return tuple(self._codes)

    def code(self, text: str) -> int:
        """Return the code of a text."""
        return self._codes.setdefault(text, len(self._codes))

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


class Source(Protocol):
    """An nsys export of any format: tables of integers, and strings by id."""

    @property
    def path(self) -> Path:
        """The file or folder as the user named it."""

    def has(self, table: str, *columns: str) -> bool:
        """Whether the export has the table with all these columns."""

    def chunks(self, table: str, columns: tuple[str, ...], text: str | None = None) -> Iterator[Rows]:
        """Yield a table in chunks of rows, in the order of the file; `NULL` where the table lacks a column."""

    def small(self, table: str, *columns: str) -> list[tuple[object, ...]]:
        """Return a small table's columns, all rows."""

    def count(self, table: str) -> int:
        """Return the number of a table's rows, 0 where the export lacks it."""

    def strings(self, ids: list[int]) -> list[str]:
        """Return the text of each string id; an id without a row reads `<string 7 missing>`, NULL an empty text."""


def whole_columns(source: Source, table: str, columns: tuple[str, ...]) -> dict[str, Int64]:
    """Return whole columns of integers; `NULL` where a row holds no integer and for columns the table lacks."""
    parts = [rows.integers for rows in source.chunks(table, columns)]
    return {
        column: np.concatenate([part[column] for part in parts]) if parts else np.zeros(0, dtype=np.int64)
        for column in columns
    }


class Export:
    """An open nsys SQLite export and what it holds."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        query = "SELECT name, rootpage FROM sqlite_master WHERE type IN ('table', 'view')"
        self._roots = {str(name): root for name, root in self.query(query)}
        self._tables: dict[str, Table] = {}

    def query(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Return all rows; a damaged file raises TracediffError."""
        try:
            return self.connection.execute(sql, parameters).fetchall()
        except SQLITE_ERRORS as error:
            raise damaged(self.path, error) from error

    def table(self, name: str) -> Table:
        """Return what the schema says of a table that the export has."""
        if name not in self._tables:
            root = self._roots[name]
            positions, plain = {}, set()
            for cid, column, kind, pk, hidden in self.query(
                "SELECT cid, name, type, pk, hidden FROM pragma_table_xinfo(?)", (name,)
            ):
                if isinstance(cid, int):
                    positions[str(column)] = cid
                if not pk and not hidden and str(kind).upper() in {"INTEGER", "TEXT"}:
                    plain.add(str(column))
            self._tables[name] = Table(
                root=root if isinstance(root, int) else 0, positions=positions, plain=frozenset(plain)
            )
        return self._tables[name]

    def has(self, table: str, *columns: str) -> bool:
        """Whether the export has the table with all these columns."""
        return table in self._roots and self.table(table).positions.keys() >= set(columns)

    def small(self, table: str, *columns: str) -> list[tuple[object, ...]]:
        """Return a small table's columns, all rows."""
        return self.query(f"SELECT {', '.join(columns)} FROM {table}")

    def count(self, table: str) -> int:
        """Return the number of a table's rows, 0 where the export lacks it."""
        count = self.query(f"SELECT count(*) FROM {table}")[0][0] if self.has(table) else 0
        return count if isinstance(count, int) else 0

    def chunks(self, table: str, columns: tuple[str, ...], text: str | None = None) -> Iterator[Rows]:
        """Yield a table in chunks of rows, in the order of the file.

        Args:
            table: A table of the export.
            columns: Names of integer columns, from our own code (never from the trace); `NULL` where the table lacks
                one.
            text: One column of text, if wanted and there.
        """
        found = self.table(table)
        present = [column for column in columns if column in found.positions]
        text = text if text in found.positions else None
        behind: int | None = None
        try:
            for rows in self._from_pages(found, present, text):
                behind = int(rows.rowid[-1])
                yield self._complete(rows, table, columns, text)
            return
        except UnusualPageError:
            pass
        for rows in self._from_sqlite(table, present, text, "" if behind is None else f"WHERE rowid > {behind}"):
            yield self._complete(rows, table, columns, text)

    def _from_pages(self, found: Table, present: list[str], text: str | None) -> Iterator[Rows]:
        if found.root < 2 or not found.plain.issuperset([*present, *([text] if text else [])]):
            raise UnusualPageError
        try:
            file = PageFile(self.path)
        except OSError:
            raise UnusualPageError from None  # SQLite will say what is wrong
        try:
            positions = {column: found.positions[column] for column in present}
            yield from file.rows(found.root, positions, found.positions[text] if text else None)
        except OSError:
            raise UnusualPageError from None
        finally:
            file.close()

    def _from_sqlite(self, table: str, present: list[str], text: str | None, where: str) -> Iterator[Rows]:
        fields = [f"CASE typeof({column}) WHEN 'integer' THEN {column} ELSE {NULL} END" for column in present]
        if text:
            fields.append(f"CASE typeof({text}) WHEN 'text' THEN {text} END")
        select = f"SELECT {', '.join(fields) or 'NULL'} FROM {table} {where}"
        try:
            cursor = self.connection.execute(select)
            while batch := list(islice(cursor, _ROWS_PER_CHUNK)):
                texts: list[bytes | None] = []
                if text:
                    texts = [None if row[-1] is None else str(row[-1]).encode() for row in batch]
                numbers = np.array([row[: len(present)] for row in batch], dtype=np.int64).reshape(len(batch), -1)
                yield Rows(
                    rowid=np.zeros(len(batch), dtype=np.int64),
                    integers={column: numbers[:, index].copy() for index, column in enumerate(present)},
                    text=texts,
                    apart=np.zeros(0, dtype=np.int64),
                )
        except SQLITE_ERRORS as error:
            raise damaged(self.path, error) from error
        except OverflowError as error:
            raise TracediffError(f"{self.path}: {table} holds a number beyond 64 bits", "export it again") from error

    def _complete(self, rows: Rows, table: str, columns: tuple[str, ...], text: str | None) -> Rows:
        """Add the columns the table lacks, and what the pages did not hold."""
        count = len(rows.rowid)
        for index in rows.apart.tolist():
            where = f"WHERE rowid = {int(rows.rowid[index])}"
            for whole in self._from_sqlite(table, list(rows.integers), text, where):
                for column, values in whole.integers.items():
                    rows.integers[column][index] = values[0]
                if text:
                    rows.text[index] = whole.text[0]
        for column in columns:
            if column not in rows.integers:
                rows.integers[column] = np.full(count, NULL, dtype=np.int64)
        return rows

    def strings(self, ids: list[int]) -> list[str]:
        """Return the text of each string id; an id without a row reads `<string 7 missing>`, NULL an empty text."""
        return strings_by_id(self.query("SELECT id, value FROM StringIds"), ids)


def strings_by_id(rows: Iterable[tuple[object, ...]], ids: list[int]) -> list[str]:
    """Pick strings out of the rows (id, value) of StringIds."""
    wanted = set(ids)
    texts = {NULL: ""}
    for identity, value in rows:
        if identity in wanted and isinstance(identity, int):
            texts[identity] = str(value)
    return [texts.get(identity, f"<string {identity} missing>") for identity in ids]
