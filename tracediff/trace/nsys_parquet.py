"""An nsys Parquet export (`nsys export --type parquetdir`: a folder with one file per table) → kernel table.

The tables and columns are those of the SQLite export; ids are unsigned.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracediff.errors import TracediffError, install_hint
from tracediff.trace.columns import NULL, Rows, TextColumn, checked, mistyped_value, null_number, strings_by_id
from tracediff.trace.naming import Naming
from tracediff.trace.nsys_sqlite import KERNELS, STRINGS, read_export
from tracediff.trace.table import Int64, KernelTable

if TYPE_CHECKING:
    import pyarrow

_ROWS_PER_CHUNK = 65536
#: Repeated values take next to no room in Parquet; times do, so that no real file has more rows than this.
_MOST_ROWS_OF_ANY_FILE, _MOST_ROWS_PER_BYTE = 1_000_000, 16


def is_parquet_export(path: Path) -> bool:
    """Whether a folder holds tables of an nsys export."""
    return path.is_dir() and any((path / f"{table}.parquet").is_file() for table in (STRINGS, KERNELS))


def read_nsys_parquet(path: Path, naming: Naming) -> KernelTable:
    """Read the kernel table of a Parquet export.

    Raises:
        TracediffError: pyarrow is missing, a file is damaged, or the export lacks kernels, launch calls or strings.
    """
    try:
        import pyarrow  # noqa: F401, PLC0415 -- optional, and slow to load
    except ImportError:
        raise TracediffError(
            f"reading {path} needs pyarrow", f"{install_hint('fleet')}, or export with --type sqlite"
        ) from None
    return read_export(_ParquetExport(path), naming)


class _ParquetExport:
    """A folder of Parquet files as a source of columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: dict[str, frozenset[str]] = {}

    def _open(self, table: str, text: str | None = None) -> Any:
        """Open the file of a table; its column `text` is read as codes of distinct texts."""
        import pyarrow.parquet  # noqa: PLC0415

        path = self.path / f"{table}.parquet"
        try:
            file = pyarrow.parquet.ParquetFile(path, read_dictionary=[text] if text else None)
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise TracediffError(f"{path} has two columns of one name", "export the report again")
            if file.metadata.num_rows > max(_MOST_ROWS_OF_ANY_FILE, _MOST_ROWS_PER_BYTE * path.stat().st_size):
                raise TracediffError(
                    f"{path} states more rows than a file of its size holds", "export the report again"
                )
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._damaged(table, error) from error
        except KeyError:  # the text is no plain column
            raise mistyped_value(self.path, table) from None
        return file

    def _damaged(self, table: str, error: Exception) -> TracediffError:
        reason = " ".join(str(error).split())[:200]
        return TracediffError(f"{self.path}/{table}.parquet is damaged ({reason})", "export the report again")

    @property
    def tables(self) -> frozenset[str]:
        """Names of all tables."""
        return frozenset(each.stem for each in self.path.glob("*.parquet"))

    def has(self, table: str, *columns: str) -> bool:
        """Whether the export has the table with all these columns."""
        if table not in self._columns:
            there = (self.path / f"{table}.parquet").is_file()
            self._columns[table] = frozenset(self._open(table).schema_arrow.names) if there else frozenset()
        return bool(self._columns[table]) and self._columns[table].issuperset(columns)

    def chunks(self, table: str, columns: tuple[str, ...], text: str | None = None) -> Iterator[Rows]:
        """Yield a table in chunks of rows, in the order of the file; `NULL` where the table lacks a column."""
        import pyarrow  # noqa: PLC0415

        present = [column for column in columns if self.has(table, column)]
        text = text if text and self.has(table, text) else None
        wanted = [*present, *([text] if text else [])]
        try:
            for batch in self._open(table, text).iter_batches(batch_size=_ROWS_PER_CHUNK, columns=wanted):
                count = batch.num_rows
                rows = Rows(
                    rowid=np.zeros(count, dtype=np.int64),
                    integers={
                        column: self._integers(table, batch.column(column))
                        if column in present
                        else np.full(count, NULL, dtype=np.int64)
                        for column in columns
                    },
                    text=self._text(table, batch.column(text)) if text else None,
                    apart=np.zeros(0, dtype=np.int64),
                )
                yield checked(rows, self.path, table)
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._damaged(table, error) from error

    def small(self, table: str, *columns: str) -> list[tuple[object, ...]]:
        """Return columns of a table that describes the export; its first rows, if it has more than one would expect."""
        import pyarrow  # noqa: PLC0415

        try:
            batches = self._open(table).iter_batches(batch_size=_ROWS_PER_CHUNK, columns=list(columns))
            first = next(batches, None)
            values = [] if first is None else [_objects(first.column(column)) for column in columns]
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._damaged(table, error) from error
        return list(zip(*values, strict=True))

    def count(self, table: str) -> int:
        """Return the number of a table's rows, 0 where the export lacks it."""
        return int(self._open(table).metadata.num_rows) if self.has(table) else 0

    def strings(self, ids: list[int]) -> list[str]:
        """Return the text of each string id."""
        return strings_by_id(self, ids)

    def _integers(self, table: str, column: pyarrow.Array) -> Int64:
        import pyarrow  # noqa: PLC0415

        if pyarrow.types.is_null(column.type):
            return np.full(len(column), NULL, dtype=np.int64)
        if not pyarrow.types.is_integer(column.type):
            raise mistyped_value(self.path, table)
        signed = column.cast(pyarrow.int64(), safe=False)  # ids are unsigned
        values: Int64 = signed.fill_null(NULL).to_numpy(zero_copy_only=False)
        if int((values == NULL).sum()) != column.null_count:
            raise null_number(self.path, table)
        return values

    def _text(self, table: str, column: pyarrow.Array) -> TextColumn:
        import pyarrow  # noqa: PLC0415

        if pyarrow.types.is_null(column.type):
            return TextColumn.of([None] * len(column))
        if not pyarrow.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
            raise mistyped_value(self.path, table)
        return _texts(column)


def _texts(column: pyarrow.DictionaryArray) -> TextColumn:
    import pyarrow  # noqa: PLC0415

    index = column.indices.cast(pyarrow.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    texts = column.dictionary.cast(pyarrow.binary()).to_pylist()
    if len(index) and (index.min() < -1 or index.max() >= len(texts)):  # pyarrow does not look
        raise pyarrow.ArrowInvalid("a code of a text is beyond its dictionary")
    return TextColumn.of([*texts, None]).picked(index)  # -1: the last, which is none


def _is_text(type_: Any) -> bool:
    import pyarrow  # noqa: PLC0415

    return bool(pyarrow.types.is_string(type_) or pyarrow.types.is_large_string(type_))


def _objects(column: pyarrow.Array) -> list[object]:
    """Return values as Python objects, whatever bytes a text holds."""
    import pyarrow  # noqa: PLC0415

    if _is_text(column.type):
        raw = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if each is None else each.decode("utf-8", errors="replace") for each in raw]
    values: list[object] = column.to_pylist()
    return values
