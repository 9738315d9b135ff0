"""Damaged and crafted inputs for `fuzz_readers.py`: JSON documents, databases, compressed files, lines of text.

What is made follows from the random generator alone, so that a seed makes the same inputs again.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).parent.parent
TRACES = HERE / "tests" / "trace" / "data"
PROFILES = HERE / "profiles"

#: Texts that some output might obey: markup, formulas, links, control characters, what no encoding can write.
HOSTILE = (
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "{{7*7}}", "%s%n", "a|b`c*d_e\\",
    "\n# heading", "=1+1", "＝1+1", "\t=1+1", " +1", "-1+1", "@fuzz", "http://fuzz.invalid/x", "www.fuzz.invalid",
    "\x1b[31mred", "\x9b31m", "\u202eevil", "\u2028", "\0", "\x7f", "\ud800", "\udfff\ud800", "\U0001f9ea",
    "'; DROP TABLE kernels; --", "", " ", "x" * 5000, "𝟙", "NaN", "../../etc/passwd", "/dev/null",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 255, 2**16, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, -(2**63),
    2**64, 10**30, -0.0, 0.5, 1.5, 1e-320, 1e15, 4e15, 1e18, 1e300, -1e300, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
CONTAINERS: tuple[Any, ...] = ([], {}, [1], [None], [[]], [1, 2, 3, 4], {"a": 1}, {"": None}, ["a", "b"], [True, 0.1])
#: JSON text that no Python value becomes.
RAW = ("1e400", "-1e999", "1" + "0" * 400, "9" * 5000, "-0", "1.0", "1E5", '"\\ud800"', '"\\ud800\\udc00"', "tru", "''")
_BYTES_OF_JSON = b'{}[]",:\\/0-9eE.+xNItfnu\xff\x00\xc3\xe2\n\t '
_DEPTHS = (2, 50, 900, 5_000, 100_000)


def written(path: Path, content: bytes) -> Path:
    """Write a file that is not of this very moment, which a reader would wait for."""
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def few(chance: random.Random, *counts: int) -> range:
    """Return so many turns; the counts are equally likely."""
    return range(chance.choice(counts))


# -- JSON -------------------------------------------------------------------------------------------------------------


def damaged_document(document: Any, chance: random.Random) -> bytes:
    """Return a JSON document with fields changed, as text whose bytes may be damaged as well."""
    changed = msgspec.json.decode(msgspec.json.encode(document))  # a deep copy
    raw: list[str] = []
    for _ in few(chance, 0, 1, 1, 1, 1, 2, 3, 6):
        chance.choice(_EDITS)(changed, chance, raw)
    indent = chance.choice([None, None, None, 1])
    text = json.dumps(changed, ensure_ascii=chance.random() < 0.8, indent=indent)
    for place, value in enumerate(raw):
        text = text.replace(f'"raw:{place}"', value)
    content = text.replace('\\u0001"', '"').encode("utf-8", "surrogatepass")
    return damaged_text(content, chance, _BYTES_OF_JSON) if chance.random() < 0.2 else content


def damaged_text(content: bytes, chance: random.Random, alphabet: bytes) -> bytes:
    """Return text with bytes replaced, doubled, cut away, or in another encoding."""
    changed = bytearray(content)
    for _ in few(chance, 1, 1, 2, 8):
        if not changed:
            break
        at, length = chance.randrange(len(changed)), chance.choice([1, 1, 2, 30])
        what = chance.random()
        if what < 0.5:
            changed[at] = chance.choice(alphabet)
        elif what < 0.7:
            changed[at:at] = changed[at : at + length] or b"\xff"
        elif what < 0.85:
            del changed[at : at + length]
        elif what < 0.95:
            del changed[at:]
        else:
            changed[:] = chance.choice([b"\xef\xbb\xbf%b", b"%b\0", b"%b{}", b"[%b", b"%b%b"]).replace(b"%b", changed)
    if chance.random() < 0.02:
        return bytes(changed).decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-32", "utf-7"]))
    return bytes(changed)


def _place(node: Any, chance: random.Random) -> tuple[Any, Any] | None:
    """Return a container in a document and a key of it."""
    found = None
    while isinstance(node, dict | list) and node:
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
        found, node = (node, key), node[key]
        if chance.random() < 0.2:
            break
    return found


def odd(chance: random.Random, raw: list[str]) -> Any:
    """Return a value of any type."""
    what = chance.random()
    if what < 0.3:
        return chance.choice(NUMBERS)
    if what < 0.5:
        return chance.choice(HOSTILE)
    if what < 0.7:
        return copy.deepcopy(chance.choice(CONTAINERS))
    if what < 0.85:
        return chance.choice([None, True, False])
    raw.append(chance.choice(RAW))
    return f"raw:{len(raw) - 1}"


def _replace(document: Any, chance: random.Random, raw: list[str]) -> None:
    if place := _place(document, chance):
        place[0][place[1]] = odd(chance, raw)


def _nudge(document: Any, chance: random.Random, raw: list[str]) -> None:
    """Change a value within its type, so that a reader may well take it."""
    if not (place := _place(document, chance)):
        return
    holder, key = place
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int):
        holder[key] = chance.choice([value + 1, value - 1, -value, value * 1000, value + 0.5, value << 40, str(value)])
    elif isinstance(value, float):
        holder[key] = chance.choice([-value, value * 1e300, 0.0, 1e-300, value + 1, -0.0])
    elif isinstance(value, str):
        holder[key] = chance.choice([value + "x", value[:-1], value.upper(), value + chance.choice(HOSTILE)])
    elif isinstance(value, list):
        holder[key] = chance.choice([value[::-1], value + value, value[:-1], value[1:], value * 5])


def _delete(document: Any, chance: random.Random, raw: list[str]) -> None:
    if place := _place(document, chance):
        del place[0][place[1]]


def _graft(document: Any, chance: random.Random, raw: list[str]) -> None:
    """Put a copy of one part of the document in the place of another."""
    source, target = _place(document, chance), _place(document, chance)
    if source and target:
        target[0][target[1]] = copy.deepcopy(source[0][source[1]])


def _rename(document: Any, chance: random.Random, raw: list[str]) -> None:
    place = _place(document, chance)
    if place and isinstance(place[0], dict):
        place[0][chance.choice([*HOSTILE, *place[0]])] = place[0].pop(place[1])


def _double(document: Any, chance: random.Random, raw: list[str]) -> None:
    """Give an object the same key twice: the mark behind the second one is taken away from the text."""
    place = _place(document, chance)
    if place and isinstance(place[0], dict):
        place[0][f"{place[1]}\x01"] = odd(chance, raw)


def _nest(document: Any, chance: random.Random, raw: list[str]) -> None:
    if place := _place(document, chance):
        depth = chance.choice(_DEPTHS)
        raw.append(chance.choice(["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth]))
        place[0][place[1]] = f"raw:{len(raw) - 1}"


_EDITS: tuple[Callable[[Any, random.Random, list[str]], None], ...] = (
    *(_replace,) * 4, *(_nudge,) * 5, *(_delete,) * 2, _graft, _graft, _rename, _double, _nest,
)  # fmt: skip


# -- compressed files and other bytes ---------------------------------------------------------------------------------


def compressed(content: bytes, chance: random.Random) -> bytes:
    """Return content compressed: plainly, twice, in parts, with something behind it, or with bytes changed."""
    what = chance.random()
    if what < 0.3:
        return gzip.compress(content, 1)
    if what < 0.4:
        return gzip.compress(gzip.compress(content, 1), 1)
    if what < 0.55:
        cut = chance.randrange(len(content) + 1)
        return gzip.compress(content[:cut], 1) + gzip.compress(content[cut:], 1)
    if what < 0.65:
        return gzip.compress(content, 1) + chance.choice([b"\0" * 512, b"rest", b"\x1f\x8b", gzip.compress(b"")])
    if what < 0.7:
        return gzip.compress(content[:-2] + b" " * chance.choice([1 << 16, 1 << 18, 1 << 22]) + content[-2:], 6)
    changed = bytearray(gzip.compress(content, 1))
    return damaged_bytes(changed, chance)


def damaged_bytes(changed: bytearray, chance: random.Random) -> bytes:
    """Return bytes with a few of them changed, most of them where a format keeps its numbers: at both ends."""
    for _ in few(chance, 1, 1, 2, 8):
        place = chance.choice([chance.randrange(len(changed)), chance.randrange(min(32, len(changed)))])
        place = chance.choice([place, place, len(changed) - 1 - chance.randrange(min(200, len(changed)))])
        changed[place] = chance.choice([chance.randrange(256), 0, 1, 127, 128, 255])
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


def changed_words(text: str, other: str, chance: random.Random) -> str:
    """Return a line with words changed, taken from another, repeated, or nested."""
    words = text.split(chance.choice([" ", "_", ",", "<", "::", "="]))
    for _ in few(chance, 0, 1, 1, 2, 4):
        at = chance.randrange(len(words))
        what = chance.random()
        if what < 0.25:
            words[at] = chance.choice(HOSTILE)
        elif what < 0.5:
            words[at] = chance.choice(other.split() or [""])
        elif what < 0.65:
            words[at] = str(chance.choice(NUMBERS))
        elif what < 0.75:
            words[at] = chance.choice(["<", ">", "(", ")", "[", "]", "{", "::", "'", '"', "|", "<(", "void "]) * 3
        elif what < 0.8:
            words[at] = chance.choice("<([{") * chance.choice([10, 300, 3000])
        elif what < 0.9:
            words[at : at + 1] = [words[at]] * chance.choice([0, 2, 20])
            words = words or [""]
        else:
            words[at] = words[at][::-1]
    return chance.choice([" ", "_", ",", "<", "::", "="]).join(words)


# -- databases --------------------------------------------------------------------------------------------------------

#: Tables of an export that readers use: columns of integers, and the one of text.
TABLES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "CUPTI_ACTIVITY_KIND_KERNEL": (("start", "end", "gridX", "correlationId", "demangledName"), None),
    "NVTX_EVENTS": (("start", "end", "eventType", "globalTid", "textId"), "text"),
    "CUPTI_ACTIVITY_KIND_RUNTIME": (("start", "correlationId", "globalTid"), None),
    "StringIds": (("id",), "value"),
}
_ENDLESS = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, 'x' AS value FROM n"
_SCHEMA_CHANGES = (
    "ALTER TABLE {table} ADD COLUMN more INTEGER DEFAULT 7",
    "ALTER TABLE {table} ADD COLUMN made INTEGER AS (rowid * 2) VIRTUAL",
    "ALTER TABLE {table} DROP COLUMN {column}",
    "ALTER TABLE {table} RENAME COLUMN {column} TO renamed",
    "CREATE TABLE t AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE t RENAME TO {table}",
    "CREATE TABLE t ({column} INTEGER PRIMARY KEY, made INTEGER AS ({column} + 1) {kept}, value TEXT);"
    "INSERT OR IGNORE INTO t ({column}, value) SELECT {column}, 'x' FROM {table};"
    "DROP TABLE {table}; ALTER TABLE t RENAME TO {table}",
    "CREATE TABLE t (made AS (id * 3) {kept}, id INTEGER PRIMARY KEY, value TEXT) {rowids};"
    "INSERT INTO t (id, value) SELECT id, value FROM StringIds;"
    "DROP TABLE StringIds; ALTER TABLE t RENAME TO StringIds",
    "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, value TEXT COLLATE NOCASE);"
    "INSERT INTO t SELECT id, value FROM StringIds; DROP TABLE StringIds; ALTER TABLE t RENAME TO StringIds",
    "ALTER TABLE {table} RENAME TO kept; CREATE VIEW {table} AS SELECT * FROM kept",
    "DROP TABLE StringIds; CREATE VIEW StringIds AS " + _ENDLESS,
    "CREATE TRIGGER tr{number} AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END",
    "CREATE INDEX i{number} ON {table} ({column})",
    "CREATE INDEX i{number} ON {table} ({column}) WHERE {column} > {number}",
    "DELETE FROM {table} WHERE rowid % {number} = 0",
    "DELETE FROM {table}",
    "UPDATE {table} SET {column} = {column} * {number} + 1",
    "UPDATE {table} SET {column} = {value}",
    "UPDATE {table} SET {column} = {value} WHERE rowid % {number} = 1",
    "UPDATE OR IGNORE {table} SET rowid = {value} WHERE rowid = {number}",
    "INSERT INTO {table} SELECT * FROM {table} LIMIT 200",
    "UPDATE StringIds SET value = {text} WHERE rowid % {number} = 0",
    "UPDATE NVTX_EVENTS SET text = {text} WHERE rowid % {number} = 0",
    "UPDATE StringIds SET value = zeroblob(1000 * {number}) WHERE rowid = {number}",
    "UPDATE TARGET_INFO_GPU SET smCount = {value}",
    "UPDATE TARGET_INFO_GPU SET name = {text}",
    "UPDATE META_DATA_EXPORT SET value = {text}",
    "ALTER TABLE {table} RENAME TO old{number}",
    "DROP TABLE {table}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA auto_vacuum = FULL; VACUUM",
    "VACUUM",
)
_VALUES = (
    *("NULL", "1.5", "'text'", "x'00ff'", str(-(2**63)), str(-(2**63) + 1), str(2**63 - 1), "-1", "''", "0"),
    *("4611686018427387904", "4000000000000000001", "2147483648", "1e400", "'12'", "rowid"),
)
#: Bytes that mean something where an SQLite page keeps its counts, offsets and types.
_PAGE_BYTES = (0, 1, 2, 5, 8, 9, 10, 12, 13, 100, 127, 128, 129, 254, 255)


_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"


class Bases:
    """Sound databases to damage; making one takes longer than reading it, so each is used a hundred times."""

    def __init__(self, make: Callable[[random.Random], bytes], uses: int = 100) -> None:
        self._make, self._uses = make, uses
        self._content, self._left = b"", 0

    def get(self, chance: random.Random) -> bytes:
        """Return the present one."""
        if not self._left:
            self._content, self._left = self._make(chance), self._uses
        self._left -= 1
        return self._content


def small_export(chance: random.Random) -> bytes:
    """Return an nsys export of a few pages: other page sizes, other rows, and what no nsys writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.sqlite"
        shutil.copyfile(chance.choice(sorted(TRACES.glob("*.sqlite"))), path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if chance.random() < 0.05:
                _in_utf16(connection)
            connection.execute(f"PRAGMA page_size = {chance.choice([512, 1024, 4096, 65536])}")
            for table in TABLES:
                connection.execute(f"DELETE FROM {table} WHERE rowid % 8 >= {chance.randint(1, 8)}")
            for _ in few(chance, 0, 0, 1, 1, 2, 3):
                _change_schema(connection, chance)
            if chance.random() < 0.9:
                with contextlib.suppress(sqlite3.Error):  # of a column whose expression makes no sense any more
                    connection.execute("VACUUM")
        return path.read_bytes()


def _change_schema(connection: sqlite3.Connection, chance: random.Random) -> None:
    table = chance.choice(list(TABLES))
    script = chance.choice(_SCHEMA_CHANGES).format(
        table=table,
        column=chance.choice(TABLES[table][0]),
        number=chance.randint(2, 9),
        value=chance.choice(_VALUES),
        text=sql_text(chance.choice(HOSTILE)),
        kept=chance.choice(["VIRTUAL", "STORED"]),
        rowids=chance.choice(["", "WITHOUT ROWID"]),
    )
    with contextlib.suppress(sqlite3.Error):
        for statement in script.split(";") if "TRIGGER" not in script and "'" not in script else [script]:
            connection.execute(statement)


def sql_text(text: str) -> str:
    """Return a text as SQL that makes the same bytes, whatever they are."""
    return f"CAST(x'{text.encode('utf-8', 'surrogatepass').hex()}' AS TEXT)"


def _in_utf16(connection: sqlite3.Connection) -> None:
    """Write the database anew in an encoding that nsys does not use."""
    statements = list(connection.iterdump())
    connection.execute("PRAGMA writable_schema = ON")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        connection.execute(f"DROP TABLE {name}")
    connection.execute("VACUUM")
    connection.execute("PRAGMA encoding = 'UTF-16le'")
    for statement in statements:
        connection.execute(statement)


def damaged_database(content: bytes, chance: random.Random) -> bytes:
    """Return a database with some bytes changed, most of them where the format keeps its numbers."""
    changed = bytearray(content)
    size = int.from_bytes(content[16:18], "big") or 4096
    size = 65536 if size == 1 else size
    pages = max(len(content) // size, 1)
    for _ in few(chance, 0, 1, 1, 1, 2, 3, 8):
        page = chance.randrange(pages) * size
        what = chance.random()
        if what < 0.1:
            changed[chance.randrange(100)] = chance.choice(_PAGE_BYTES)
        elif what < 0.4:
            changed[page + chance.randrange(12)] = chance.choice(_PAGE_BYTES)
        elif what < 0.55:
            changed[page + 8 + chance.randrange(64)] = chance.choice(_PAGE_BYTES)
        elif what < 0.85:  # where a cell begins: sizes, rowids, types
            cells = max(int.from_bytes(changed[page + 3 : page + 5], "big"), 1)
            pointer = page + 8 + 2 * chance.randrange(min(cells, 60))
            cell = page + int.from_bytes(changed[pointer : pointer + 2], "big") + chance.randrange(30)
            if cell < len(changed):
                changed[cell] = chance.choice(_PAGE_BYTES)
        elif what < 0.93:
            other = chance.randrange(pages) * size
            changed[page : page + size] = changed[other : other + size]
        else:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.03 else changed)


def sidecar(path: Path, chance: random.Random) -> None:
    """Leave something beside a database as an unfinished write would; nothing most of the time."""
    for suffix in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    if chance.random() < 0.03:
        content = chance.choice([b"", b"\0" * 512, _JOURNAL + b"\0" * 504, b"\x37\x7f\x06\x82" * 128])
        path.with_name(path.name + chance.choice(["-journal", "-wal", "-shm"])).write_bytes(content)
