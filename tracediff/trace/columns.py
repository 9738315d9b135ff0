"""Columns out of an nsys export: one SELECT, numpy arrays, no Python object that outlives its row.

Which tables and columns an export has varies with the nsys version, so a query names only what is there.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from tracediff.errors import TracediffError
from tracediff.trace.open_export import damaged
from tracediff.trace.table import Int64

#: Stands for NULL in a column of integers; nsys writes no such number.
NULL = np.iinfo(np.int64).min


class Export:
    """An open nsys export and what it holds."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        names = [str(row[0]) for row in self.query("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
        self.columns = {name: self._columns_of(name) for name in names}

    def query(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Return all rows; a damaged file raises TracediffError."""
        try:
            return self.connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise damaged(self.path, error) from error

    def _columns_of(self, table: str) -> frozenset[str]:
        return frozenset(str(row[0]) for row in self.query("SELECT name FROM pragma_table_info(?)", (table,)))

    def has(self, table: str, *columns: str) -> bool:
        """Whether the export has the table with all these columns."""
        return table in self.columns and self.columns[table].issuperset(columns)

    def integers(self, table: str, columns: tuple[str, ...], where: str = "1") -> dict[str, Int64]:
        """Return integer columns; `NULL` for NULL, for text in their place and for columns the table lacks.

        Args:
            table: A table of the export.
            columns: Names of integer columns, from our own code (never from the trace).
            where: SQL condition, from our own code.
        """
        present = [column for column in columns if column in self.columns[table] or column == "rowid"]
        fields = ", ".join(f"CASE typeof({column}) WHEN 'integer' THEN {column} ELSE {NULL} END" for column in present)
        record = np.dtype([(column, np.int64) for column in present])
        try:
            cursor = self.connection.execute(f"SELECT {fields} FROM {table} WHERE {where}")
            rows = np.fromiter(cursor, dtype=record)
        except sqlite3.Error as error:
            raise damaged(self.path, error) from error
        except OverflowError as error:
            raise TracediffError(f"{self.path}: {table} holds a number beyond 64 bits", "export it again") from error
        result = {column: np.ascontiguousarray(rows[column]) for column in present}
        missing = set(columns) - set(present)
        return result | {column: np.full(len(rows), NULL, dtype=np.int64) for column in missing}

    def strings(self, ids: Int64) -> list[str]:
        """Return the text of each string id; an id without a row reads `<string 7 missing>`, NULL an empty text."""
        wanted = set(ids.tolist())
        texts = {NULL: ""}
        for identity, value in self.query("SELECT id, value FROM StringIds"):
            if identity in wanted and isinstance(identity, int):
                texts[identity] = str(value)
        return [texts.get(identity, f"<string {identity} missing>") for identity in ids.tolist()]
