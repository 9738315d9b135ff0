"""The tables of an nsys SQLite export, as columns.

Which tables and columns an export has varies with the nsys version, so a query names only what is there. Tables are
read from the file's pages (`sqlite_pages`, 5 to 10 times faster) as far as that provably gives what SQLite would:

| precondition | where it is checked | otherwise |
| --- | --- | --- |
| no journal, no write-ahead log beside the file | `open_export` | refused |
| the file is the same, unchanged, before and after | `file_state` | refused |
| an ordinary table, neither view nor virtual | `SqliteExport._require_table` | refused |
| columns are stored as they read: no generated column in the table, declared INTEGER or TEXT | `Table.plain` | SQLite |
| every page of the tree is sound, as `sqlite_pages` says | `sqlite_pages` | SQLite's quick_check, then SQLite |
| whole records, no column added later, rowids below 2⁵⁶ | `sqlite_pages` | SQLite |
| every value is of its column's type or NULL, and not −2⁶³ (`NULL` here) | `sqlite_pages`, `_from_sqlite` | refused |
| no time beyond 127 years | `columns.checked` | refused |

What SQLite itself is asked for is bounded in time and in the length of a text, and never uses an index of the file.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct

from tracediff.errors import TracediffError
from tracediff.trace.columns import NULL, Rows, TextColumn, checked, mistyped_value, null_number, strings_by_id
from tracediff.trace.open_export import SQLITE_ERRORS, damaged
from tracediff.trace.sqlite_pages import DamagedPageError, PageFile, UnusualPageError

#: SQLite hands over so many rows, or so many bytes of text, before they become arrays.
_ROWS_PER_CHUNK = 65536
_TEXT_PER_CHUNK = 64 << 20
#: Rows of a table that describes the export: nsys writes about a hundred.
_MOST_DESCRIPTIONS = 10_000
#: What quick_check says of rows that break a rule of the schema; the tree that holds them is sound.
_ABOUT_ROWS = re.compile(
    r"(NULL|NUMERIC|TEXT|non-\w+) value in |CHECK constraint failed|row \d+ missing from index|"
    r"wrong # of entries in index|non-unique entry"
)


class Table(Struct, frozen=True, kw_only=True):
    """What the export's schema says of one table.

    Attributes:
        root: First page of the table's tree.
        columns: Every column that can be read.
        positions: Column → place in the record, for what a record holds as it is read; empty where a column of the
            table is generated, because later columns may then have moved.
        rowid: The column that is another name of the rowid, if there is one.
    """

    root: int
    columns: frozenset[str]
    positions: dict[str, int]
    rowid: str | None

    def plain(self, columns: list[str]) -> bool:
        """Whether pages hold all these columns as they are read."""
        return all(column in self.positions or column == self.rowid for column in columns)


class SqliteExport:
    """An open nsys SQLite export and what it holds."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._schema = {
            str(name): (kind, root)
            for name, kind, root in self.query(
                "SELECT name, type, rootpage FROM sqlite_master WHERE type IN ('table', 'view')"
            )
        }
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
            root = self._require_table(name)
            columns, positions, keys = set[str](), dict[str, int](), list[str]()
            generated = False
            for cid, column_name, kind, key, hidden in self.query(
                "SELECT cid, name, upper(type), pk, hidden FROM pragma_table_xinfo(?)", (name,)
            ):
                column = str(column_name)
                columns.add(column)
                generated |= bool(hidden)
                if key:
                    keys.append(column if kind == "INTEGER" else "")
                elif isinstance(cid, int) and kind in {"INTEGER", "TEXT"}:
                    positions[column] = cid
            self._tables[name] = Table(
                root=root,
                columns=frozenset(columns),
                positions={} if generated else positions,
                # An index that the key has of its own means that it is no other name of the rowid (`DESC`).
                rowid=keys[0] or None if len(keys) == 1 and not generated and not self._key_index(name) else None,
            )
        return self._tables[name]

    def _require_table(self, name: str) -> int:
        kind, root = self._schema[name]
        if kind != "table" or not isinstance(root, int) or root < 2:
            what = "a view" if kind == "view" else "a virtual table"
            raise TracediffError(f"{self.path}: {name} is {what}, which nsys never writes", "export the report again")
        return root

    def _key_index(self, name: str) -> bool:
        return bool(self.query("SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'", (name,)))

    @property
    def tables(self) -> frozenset[str]:
        """Names of all tables."""
        return frozenset(self._schema)

    def has(self, table: str, *columns: str) -> bool:
        """Whether the export has the table with all these columns."""
        return table in self._schema and self.table(table).columns >= set(columns)

    def small(self, table: str, *columns: str) -> list[tuple[object, ...]]:
        """Return columns of a table that describes the export; its first rows, if it has more than one would expect."""
        return self.query(f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED LIMIT {_MOST_DESCRIPTIONS}")

    def count(self, table: str) -> int:
        """Return the number of a table's rows, 0 where the export lacks it."""
        count = self.query(f"SELECT count(*) FROM {table} NOT INDEXED")[0][0] if self.has(table) else 0
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
        present = [column for column in columns if column in found.columns]
        text = text if text in found.columns else None
        behind: int | None = None
        try:
            for rows in self._from_pages(found, present, text):
                behind = int(rows.rowid[-1])
                yield checked(self._complete(rows, table, columns, text), self.path, table)
            return
        except DamagedPageError:
            self._require_sound(table)
        except UnusualPageError:
            pass
        for rows in self._from_sqlite(table, present, text, "" if behind is None else f"WHERE rowid > {behind}"):
            yield checked(self._complete(rows, table, columns, text), self.path, table)

    def _from_pages(self, found: Table, present: list[str], text: str | None) -> Iterator[Rows]:
        if not found.plain([*present, *([text] if text else [])]):
            raise UnusualPageError
        try:
            file = PageFile(self.path)
        except OSError:
            raise UnusualPageError from None  # SQLite will say what is wrong
        try:
            positions = {column: found.positions[column] for column in present if column != found.rowid}
            for rows in file.rows(found.root, positions, found.positions[text] if text else None):
                if found.rowid in present:
                    rows.integers[found.rowid] = rows.rowid
                yield rows
        except OSError:
            raise UnusualPageError from None
        finally:
            file.close()

    def _require_sound(self, table: str) -> None:
        """Raise TracediffError where SQLite finds the table's tree damaged: it would read on, and leave rows out."""
        for (said,) in self.query(f"PRAGMA quick_check({table})"):
            if said != "ok" and not _ABOUT_ROWS.match(str(said)):
                raise damaged(self.path, ValueError(f"{table}: {str(said).splitlines()[-1]}"))

    def _from_sqlite(self, table: str, present: list[str], text: str | None, where: str) -> Iterator[Rows]:
        fields = [f"CASE typeof({column}) WHEN 'integer' THEN {column} ELSE {NULL} END" for column in present]
        mistyped = [f"typeof({column}) NOT IN ('integer', 'null')" for column in present]
        if text:
            mistyped.append(f"typeof({text}) NOT IN ('text', 'null')")
        fields.append(" OR ".join(f"{column} IS {NULL}" for column in present) or "0")
        fields.append(" OR ".join(mistyped) or "0")
        if text:
            fields.append(f"CASE typeof({text}) WHEN 'text' THEN {text} END")
        select = f"SELECT {', '.join(fields)} FROM {table} NOT INDEXED {where}"
        try:
            cursor = self.connection.execute(select)
            while batch := self._batch(cursor, bool(text)):
                numbers = np.array([row[: len(present) + 2] for row in batch], dtype=np.int64)
                if numbers[:, -2].any():
                    raise null_number(self.path, table)
                if numbers[:, -1].any():
                    raise mistyped_value(self.path, table)
                yield Rows(
                    rowid=np.zeros(len(batch), dtype=np.int64),
                    integers={column: numbers[:, index].copy() for index, column in enumerate(present)},
                    text=TextColumn.of([_encoded(row[-1]) for row in batch]) if text else None,
                    apart=np.zeros(0, dtype=np.int64),
                )
        except SQLITE_ERRORS as error:
            raise damaged(self.path, error) from error
        except OverflowError as error:
            raise TracediffError(
                f"{self.path}: {table} holds a number beyond 64 bits", "export the report again"
            ) from error

    @staticmethod
    def _batch(cursor: sqlite3.Cursor, with_text: bool) -> list[tuple[object, ...]]:
        batch: list[tuple[object, ...]] = []
        length = 0
        for row in cursor:
            batch.append(row)
            if with_text and isinstance(row[-1], str):
                length += len(row[-1])
            if len(batch) == _ROWS_PER_CHUNK or length > _TEXT_PER_CHUNK:
                break
        return batch

    def _complete(self, rows: Rows, table: str, columns: tuple[str, ...], text: str | None) -> Rows:
        """Add the columns the table lacks, and what the pages did not hold."""
        found: list[bytes | None] = []
        for index in rows.apart.tolist():
            where = f"WHERE rowid = {int(rows.rowid[index])}"
            for whole in self._from_sqlite(table, list(rows.integers), text, where):
                for column, values in whole.integers.items():
                    rows.integers[column][index] = values[0]
                found.append(whole.text[0] if whole.text else None)
        if rows.text is not None and found:
            rows = Rows(
                rowid=rows.rowid,
                integers=rows.integers,
                text=rows.text.replaced(rows.apart, found),
                apart=rows.apart,
                share=rows.share,
            )
        for column in columns:
            if column not in rows.integers:
                rows.integers[column] = np.full(len(rows.rowid), NULL, dtype=np.int64)
        return rows

    def strings(self, ids: list[int]) -> list[str]:
        """Return the text of each string id; an id without a row reads `<string 7 missing>`, NULL an empty text."""
        return strings_by_id(self, ids)


def _encoded(text: object) -> bytes | None:
    return text.encode("utf-8", errors="replace") if isinstance(text, str) else None
