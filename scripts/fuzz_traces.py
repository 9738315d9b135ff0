"""Damaged traces, and what stands beside them: how each is written, read and rendered for `fuzz_readers.py`."""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import json
import math
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_inputs import (
    HOSTILE,
    NUMBERS,
    PROFILES,
    TABLES,
    TRACES,
    Bases,
    changed_words,
    compressed,
    damaged_bytes,
    damaged_database,
    damaged_document,
    few,
    sidecar,
    small_export,
    sql_text,
    written,
)
from fuzz_outputs import (
    DIFF_OUTPUTS,
    TABLE_OUTPUTS,
    one_output,
    require,
)
from msgspec.structs import replace

from tracediff.capture.manifest import listed_files, read_manifest
from tracediff.diff import diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.show import show_table
from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite
from tracediff.measured import MalformedEvidenceError, decode_evidence, encode_evidence, read_evidence
from tracediff.measured.logits import read_logits
from tracediff.report.diff.sqlite import save_show
from tracediff.trace import KernelTable, read_trace
from tracediff.trace.open_export import open_export
from tracediff.trace.sqlite_export import SqliteExport
from tracediff.trace.sqlite_pages import UnusualPageError

#: Rendering takes several times as long as reading a trace of this size.
UNRENDERED = 0.75


class DifferError(Exception):
    """The page reader and sqlite3 do not say the same."""


@functools.cache
def document(path: str) -> Any:
    """Return a JSON file of the profiles."""
    return json.loads((PROFILES / path).read_text())


@functools.cache
def sound(name: str) -> KernelTable:
    """Return the kernel table of a real trace."""
    return read_trace(TRACES / name)


def check_trace(path: Path, chance: random.Random) -> None:
    """Read a trace, require a consistent table, and render it."""
    render_table(consistent(read_trace(path)), path.parent, chance)


def consistent(table: KernelTable) -> KernelTable:
    """Return the table, whose columns fit each other."""
    covered = table.coverage
    require(covered.kernels == len(table) > 0, "coverage counts other kernels than there are")
    parts = covered.in_module + covered.in_phase_only + covered.outside_ranges + covered.no_launch
    require(parts == len(table), "parts of the coverage do not add up")
    require((table.duration_ns >= 0).all(), "a negative duration")
    require((np.diff(table.launch_ns) >= 0).all(), "launches out of order")
    for codes, values in ((table.name, table.names), (table.key, table.keys)):
        require(codes.min() >= 0 and codes.max() < len(values), "a code without a value")
        require(len(set(values)) == len(values), "a value with two codes")
    require(table.algorithm.max(initial=-1) < len(table.algorithms), "an algorithm without a text")
    return table


def render_table(table: KernelTable, folder: Path, chance: random.Random) -> None:
    """Render some of the tables, or their comparison with themselves or with a sound one, in one format."""
    if chance.random() < UNRENDERED:
        return
    if chance.random() < 0.5:
        one_output(TABLE_OUTPUTS, table, folder, chance)
        return
    name = chance.choice(["", "llama-two-blocks-b2.sqlite", "torch-gpu-ranges-b2.json.gz"])
    one_output(DIFF_OUTPUTS, diff_tables(table, sound(name) if name else table), folder, chance)


def render_all(folder: Path) -> None:
    """Render a sound table in every format, which loads what takes memory once."""
    table = sound("llama-two-blocks-b1.sqlite")
    for output in TABLE_OUTPUTS.values():
        output(table, folder)
    diff = diff_tables(table, sound("llama-two-blocks-b2.sqlite"))
    for output in DIFF_OUTPUTS.values():
        output(diff, folder)


def compare_with_sqlite(path: Path, _: random.Random) -> None:
    """Read each table from pages and by sqlite3: the same values, or refused."""
    refusals = 0
    with contextlib.closing(open_export(path)) as connection:
        by_pages, by_sqlite = SqliteExport(path, connection), SqliteExport(path, connection)
        by_sqlite._from_pages = _no_pages  # type: ignore[assignment, method-assign]
        for table in TABLES:
            try:
                found = _whole(by_pages, table)
            except TracediffError:
                refusals += 1
                continue
            try:
                expected = _whole(by_sqlite, table)
            except TracediffError as error:
                raise DifferError(f"{table}: pages read what sqlite3 refuses ({error})") from error
            if found != expected:
                raise DifferError(f"{table}: {found} != {expected}"[:2000])
    if refusals:
        raise TracediffError("refused")


def _whole(export: SqliteExport, table: str) -> list[list[object]]:
    """Return a table's columns as lists."""
    if not export.has(table):
        return []
    columns, text = TABLES[table]
    found: list[list[object]] = [[] for _ in range(len(columns) + 1)]
    for rows in export.chunks(table, columns, text):
        for place, column in enumerate(columns):
            found[place] += rows.integers[column].tolist()
        if rows.text is not None:
            raw = rows.text.take(np.arange(len(rows.rowid)))
            found[-1] += [None if each is None else each.decode("utf-8", "replace") for each in raw]
    return found


def _no_pages(*_: object) -> Iterator[object]:
    raise UnusualPageError
    yield


_EXPORTS = Bases(small_export)


def make_export(folder: Path, chance: random.Random) -> Path:
    """Write an nsys export."""
    path = written(folder / "t.sqlite", damaged_database(_EXPORTS.get(chance), chance))
    sidecar(path, chance)
    return path


@functools.cache
def trace_texts() -> tuple[str, ...]:
    """Return names of kernels, range texts and log lines of real traces."""
    tables = [sound(name) for name in ("llama-two-blocks-b1.sqlite", "vllm-eager-b1.sqlite", "cuda-graph-b1.sqlite")]
    names = {name for table in tables for name in table.names}
    logs = {text for table in tables for text in table.algorithms}
    paths = {text for table in tables for key in table.keys for text in (key.phase, key.module) if text}
    return tuple(sorted(names | logs | paths))


def _with_other_texts(chance: random.Random) -> bytes:
    """Return a sound export whose names, range texts and log lines are changed."""
    content = (TRACES / "llama-two-blocks-b1.sqlite").read_bytes()
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(content)
        ids = [each for (each,) in connection.execute("SELECT id FROM StringIds").fetchall()]
        for each in chance.sample(ids, min(12, len(ids))):
            (text,) = connection.execute("SELECT value FROM StringIds WHERE id = ?", (each,)).fetchone()
            changed = changed_words(text, chance.choice(trace_texts()), chance)
            connection.execute(f"UPDATE StringIds SET value = {sql_text(changed)} WHERE id = {each}")
        return connection.serialize()


def make_texts(folder: Path, chance: random.Random) -> Path:
    """Write an export with other names, range texts and lines of cuBLASLt's log."""
    return written(folder / "t.sqlite", _with_other_texts(chance))


@functools.cache
def _events(name: str) -> Any:
    return json.loads(gzip.decompress((TRACES / name).read_bytes()))


_TORCH = sorted(path.name for path in TRACES.glob("torch-*.json.gz"))


def _some_events(chance: random.Random) -> dict[str, Any]:
    whole = _events(chance.choice(_TORCH))
    first = chance.randrange(max(len(whole["traceEvents"]) - 60, 1))
    return {**whole, "traceEvents": whole["traceEvents"][first : first + 60]}


def _chrome_trace(chance: random.Random) -> bytes:
    trace = _some_events(chance)
    if chance.random() < 0.1:
        trace = {name: trace[name] for name in chance.sample(list(trace), len(trace))}
    return damaged_document(trace if chance.random() < 0.95 else trace["traceEvents"], chance)


def make_json(folder: Path, chance: random.Random) -> Path:
    """Write a PyTorch trace."""
    return written(folder / "t.json", _chrome_trace(chance))


def make_gzip(folder: Path, chance: random.Random) -> Path:
    """Write a compressed PyTorch trace."""
    content = _chrome_trace(chance) if chance.random() < 0.5 else json.dumps(_some_events(chance)).encode()
    return written(folder / "t.json.gz", compressed(content, chance))


_HEADS = (
    b"SQLite format 3\0", b"\x1f\x8b\x08", b"PAR1", b"PK\x03\x04", b"{", b"[", b"GGUF", b"\x7fELF", b"ustar", b"BZh",
    b"\x28\xb5\x2f\xfd", b"version https://git-lfs", b"<html", b"%PDF", b"", b"\0", b"\xef\xbb\xbf{",
    b'{"traceEvents":[',
    b'{"schema": 1, "kind": "map"', b'{"nodes": [', b"SQLite format 3\0\x10\0\x01\x01\0@  ", b"#!/bin/sh\n",
)  # fmt: skip
_SUFFIXES = (".sqlite", ".json", ".json.gz", ".nsys-rep", ".qdrep", ".pb", ".xplane.pb", ".txt", "", ".zip", ".ncu-rep")


def make_foreign(folder: Path, chance: random.Random) -> Path:
    """Write a file that is no trace, or only begins like one."""
    for each in folder.iterdir():
        each.unlink()
    body = chance.randbytes(chance.choice([0, 10, 100, 5000])) if chance.random() < 0.6 else b"text, \n" * 50
    return written(folder / f"f{chance.choice(_SUFFIXES)}", chance.choice(_HEADS) + body)


def make_saved(folder: Path, chance: random.Random) -> Path:
    """Write what `show --save` stored, values or bytes changed."""
    content = _SAVED.get(chance)
    return written(folder / "t.sqlite", damaged_database(content, chance) if chance.random() < 0.5 else content)


def _saved_table(chance: random.Random) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.sqlite"
        save_show(
            *show_table(sound(chance.choice(["llama-two-blocks-b1.sqlite", "torch-gpu-ranges-b1.json.gz"]))), path
        )
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for _ in few(chance, 0, 1, 1, 2):
                table = chance.choice(["kernels", "kernels", "kernels", "traces", "algorithms", "notes"])
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()]
                value = chance.choice([sql_text(chance.choice(HOSTILE)), *map(_sql_number, NUMBERS), "NULL", "x'00ff'"])
                value = chance.choice([value, value, "'1x2x3'", "'٣x1x1'", "'1x1'", "'-1x1x1'", "'1_0x1x1'"])
                if not columns:
                    continue  # dropped before
                rows = f"rowid % {chance.choice([1, 1, 3])} = 0"
                with contextlib.suppress(sqlite3.Error):
                    connection.execute(f"UPDATE {table} SET {chance.choice(columns)} = {value} WHERE {rows}")
                if chance.random() < 0.1:
                    connection.execute(
                        chance.choice(["DROP TABLE notes", "DELETE FROM kernels", "PRAGMA user_version=9"])
                    )
        return path.read_bytes()


def _sql_number(number: float) -> str:
    return "NULL" if math.isnan(number) else "9e999" if math.isinf(number) else str(number)


_SAVED = Bases(_saved_table, 4)


def make_manifest(folder: Path, chance: random.Random) -> Path:
    """Write a trace with a manifest of any content beside it."""
    manifest = document("llama-3-8b-float16/manifest.json")
    manifest = {**manifest, "traces": [{**manifest["traces"][0], "file": "t.json"}, *manifest["traces"][1:]]}
    written(folder / "manifest.json", damaged_document(manifest, chance))
    some = _events("torch-gpu-ranges-b1.json.gz")
    return written(folder / "t.json", json.dumps({**some, "traceEvents": some["traceEvents"][:40]}).encode())


def check_manifest(path: Path, chance: random.Random) -> None:
    """Read what stands beside a trace as every reader of it does; where it cannot be used, that is a note."""
    table = consistent(read_trace(path))
    listed_files(path.parent)
    render_table(table, path.parent, chance)
    with contextlib.suppress(TracediffError):
        refuse_to_overwrite(path, force=True)
    read_manifest(path.parent)


@functools.cache
def small_evidence(path: str) -> Any:
    """Return evidence of a few modules, which fits the traces of `_pair`: else it would not be used beside them."""
    whole = document(path)
    pair = whole["pairs"][0]
    modules = {
        phase: dict(itertools.islice(found.items(), 12))
        for phase, found in itertools.islice(pair["modules"].items(), 2)
    }
    small = {name: whole[name][:2] for name in ("unstable",) if name in whole}
    fitting = {"phases": ["prefill"], "gpu": None, "traces": {}}
    return {**whole, **small, **fitting, "pairs": [{**pair, "modules": modules}]}


def make_evidence(folder: Path, chance: random.Random) -> Path:
    """Write what was measured of a pair of traces."""
    seed = chance.choice(["llama-3-8b-float16", "llama-3.2-1b-float16-700-tokens"])
    return written(folder / "evidence.json", damaged_document(small_evidence(f"{seed}/evidence.json"), chance))


@functools.cache
def _pair(folder: Path) -> Any:
    tables = []
    for batch in (1, 2):
        table = sound(f"llama-two-blocks-b{batch}.sqlite")
        info = replace(table.info, path=str(folder / f"b{batch}.sqlite"), batch=batch)
        tables.append(replace(table, info=info))
    return diff_tables(*tables)


def check_evidence(path: Path, chance: random.Random) -> None:
    """Compare two traces with evidence beside them; what cannot be used is refused where it is read by itself."""
    diff = attach_evidence(_pair(path.parent))
    one_output(DIFF_OUTPUTS, diff, path.parent, chance)
    try:
        evidence = read_evidence(path)
    except MalformedEvidenceError as error:
        raise TracediffError(str(error)) from error
    require(
        encode_evidence(decode_evidence(encode_evidence(evidence))) == encode_evidence(evidence), "written otherwise"
    )


def make_logits(folder: Path, chance: random.Random) -> Path:
    """Write stored logits, and the evidence of an older version that asks for them."""
    entries: dict[str, Any] = {}
    data = b""
    for name, dtype, width in (("1/prefill", "F16", 2), ("2/prefill", "F16", 2), ("1/decode[0]", "BF16", 2)):
        values = np.array([chance.uniform(-9, 9) for _ in range(8)], dtype=np.float32)
        raw = values.astype(np.float16).tobytes() if dtype == "F16" else values.tobytes()[: 8 * width]
        entries[name] = {"dtype": dtype, "shape": [8], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    header = damaged_document(entries, chance)
    length = len(header) if chance.random() < 0.9 else chance.choice([0, 1, 2**31, 2**63, 2**64 - 1, len(header) + 5])
    content = length.to_bytes(8, "little") + header + data
    evidence = {**small_evidence("llama-3-8b-float16/evidence.json")}
    written(folder / "evidence.json", json.dumps(evidence).encode())
    content = damaged_bytes(bytearray(content), chance) if chance.random() < 0.2 else content
    return written(folder / "logits.safetensors", content)


def check_logits(path: Path, chance: random.Random) -> None:
    """Compare traces whose evidence is completed by stored logits."""
    one_output(DIFF_OUTPUTS, attach_evidence(_pair(path.parent)), path.parent, chance)
    read_logits(path)
