"""Damaged Parquet: exports of nsys, and datasets of `tracediff ingest`."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from fuzz_inputs import (
    HOSTILE,
    TABLES,
    TRACES,
    damaged_bytes,
    damaged_document,
    written,
)
from fuzz_traces import sound


@functools.cache
def _parquet_tables() -> dict[str, Any]:
    import pyarrow  # noqa: PLC0415

    found = {}
    path = TRACES / "llama-two-blocks-b1.sqlite"
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        for table in (*TABLES, "TARGET_INFO_GPU", "META_DATA_EXPORT"):
            cursor = connection.execute(f"SELECT * FROM {table} LIMIT 60")
            names = [column[0] for column in cursor.description]
            columns = zip(*cursor.fetchall(), strict=True)
            found[f"{table}.parquet"] = pyarrow.table(dict(zip(names, map(list, columns), strict=True)))
    return found


def make_parquet(folder: Path, chance: random.Random) -> Path:
    """Write a Parquet export, one of its files damaged or with other columns."""
    export = folder / "parquet"
    export.mkdir(exist_ok=True)
    name = chance.choice(list(_parquet_tables()))
    for each in export.iterdir():
        each.unlink()
    for each in _parquet_tables():
        written(export / each, _parquet_bytes(each))
    if chance.random() < 0.5:
        written(export / name, damaged_bytes(bytearray(_parquet_bytes(name)), chance))
    else:
        written(export / name, _as_parquet(_other_columns(_parquet_tables()[name], chance)))
    return export


@functools.cache
def _parquet_bytes(name: str) -> bytes:
    return _as_parquet(_parquet_tables()[name])


def _as_parquet(table: Any) -> bytes:
    import pyarrow.parquet  # noqa: PLC0415

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _other_columns(table: Any, chance: random.Random) -> Any:
    """Return a table with a column of another type, other values, twice, or none."""
    import pyarrow  # noqa: PLC0415

    place = chance.randrange(table.num_columns)
    name, count = table.column_names[place], table.num_rows
    what = chance.random()
    if what < 0.2:
        return table.drop_columns([name])
    if what < 0.3:
        return table.append_column(name, table.column(place))
    if what < 0.4:
        return table.slice(0, chance.choice([0, 1, count]))
    values = chance.choice(
        [
            pyarrow.nulls(count),
            pyarrow.nulls(count, pyarrow.int64()),
            pyarrow.array([1.5] * count),
            pyarrow.array([chance.choice(HOSTILE).encode("utf-8", "surrogatepass")] * count, pyarrow.binary()),
            pyarrow.array(["text"] * count),
            pyarrow.array(["text"] * count, pyarrow.large_string()),
            pyarrow.array([[1, 2]] * count),
            pyarrow.array([{"a": 1}] * count),
            pyarrow.array([2**64 - 1] * count, pyarrow.uint64()),
            pyarrow.array([-(2**63)] * count),
            pyarrow.array([chance.randrange(-3, 2**40) for _ in range(count)]),
            pyarrow.array([True] * count),
            pyarrow.array([10**19] * count, pyarrow.decimal128(38)),
            pyarrow.array(["a", "b"] * count).dictionary_encode()[:count],
        ]
    )
    return table.set_column(place, name, values)


@functools.cache
def _dataset() -> dict[str, Any]:
    import pyarrow.parquet  # noqa: PLC0415

    from tracediff.fleet.dataset import FILE, write_table  # noqa: PLC0415

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("llama-two-blocks-b1.sqlite", "llama-two-blocks-b2.sqlite", "torch-gpu-ranges-b1.json.gz"):
            write_table(sound(name), TRACES / name, Path(folder))
        for path in Path(folder).glob(f"*/{FILE}"):
            found[str(path.relative_to(folder))] = pyarrow.parquet.read_table(path, partitioning=None)
    return found


def make_dataset(folder: Path, chance: random.Random) -> Path:
    """Write a dataset of `ingest`, one of its files damaged."""
    damaged = chance.choice(list(_dataset()))
    for name, table in _dataset().items():
        path = folder / "fleet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != damaged:
            written(path, _as_parquet(table))
        elif chance.random() < 0.4:
            written(path, damaged_bytes(bytearray(_as_parquet(table)), chance))
        elif chance.random() < 0.5:
            text = damaged_document(json.loads(table.schema.metadata[b"tracediff"]), chance)
            written(path, _as_parquet(table.replace_schema_metadata({b"tracediff": text})))
        else:
            written(path, _as_parquet(_other_columns(table, chance)))
    return folder / "fleet"
