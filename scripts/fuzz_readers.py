"""Read damaged and crafted traces by the thousand: a table, one line of error, and never anything that SQLite denies.

    python scripts/fuzz_readers.py [--seconds 60] [--kinds pages sqlite json gzip manifest parquet] [--seed 0]

Each kind runs in a process of its own, for its share of the time. Prints the Markdown table of docs/traces.md; inputs
that failed are kept (--keep DIR). `pages` holds the page reader against sqlite3, table by table: the same values, or
refused.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tracediff.errors import TracediffError
from tracediff.trace import read_trace
from tracediff.trace.open_export import open_export
from tracediff.trace.sqlite_export import SqliteExport
from tracediff.trace.sqlite_pages import UnusualPageError

DATA = Path(__file__).parent.parent / "tests" / "trace" / "data"
HANG_SECONDS = 10
#: Reading a damaged trace may take as much memory again as reading whole ones took.
MEMORY_TIMES = 2
NUMBERS = (0, 1, 2, 5, 8, 9, 10, 12, 13, 100, 127, 128, 129, 254, 255)
ODD = (None, True, -1, 2**31, 2**63, 2**70, 1e300, 10**400, 1.5, "x", "k\ud800", [], {}, [1], [1, 2, 3, 4], {"a": 1})
TABLES = {
    "CUPTI_ACTIVITY_KIND_KERNEL": (("start", "end", "gridX", "correlationId", "demangledName"), None),
    "NVTX_EVENTS": (("start", "end", "eventType", "globalTid", "textId"), "text"),
    "CUPTI_ACTIVITY_KIND_RUNTIME": (("start", "correlationId", "globalTid"), None),
    "StringIds": (("id",), "value"),
}
SCHEMA_CHANGES = (
    "ALTER TABLE {table} ADD COLUMN more INTEGER DEFAULT 7",
    "ALTER TABLE {table} ADD COLUMN made INTEGER AS (rowid * 2) VIRTUAL",
    "CREATE INDEX i{number} ON {table} ({column})",
    "DELETE FROM {table} WHERE rowid % {number} = 0",
    "UPDATE {table} SET {column} = {column} * {number} + 1",
    "UPDATE {table} SET {column} = {value}",
    "UPDATE {table} SET {column} = {value} WHERE rowid % {number} = 1",
    "ALTER TABLE {table} RENAME TO old{number}",
    "DROP TABLE {table}",
    "PRAGMA journal_mode = WAL",
    "VACUUM",
)
VALUES = ("NULL", "1.5", "'text'", "x'00ff'", str(-(2**63)), str(2**63 - 1), "-1", "''", "4611686018427387904")


@dataclass
class Counts:
    """What became of the inputs of one kind."""

    inputs: int = 0
    clean: int = 0
    refused: int = 0
    tracebacks: int = 0
    hangs: int = 0
    memory: int = 0
    differ: int = 0
    crashes: int = 0


class HangError(Exception):
    """An input took longer than `HANG_SECONDS`."""


class DifferError(Exception):
    """The page reader and sqlite3 do not say the same."""


def small_database(chance: random.Random) -> bytes:
    """Return an export of a few pages: other page sizes, rows changed and deleted, columns that no nsys writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.sqlite"
        shutil.copyfile(chance.choice(SEEDS["sqlite"]), path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {chance.choice([512, 1024, 4096])}")
            for table in TABLES:
                connection.execute(f"DELETE FROM {table} WHERE rowid % 8 >= {chance.randint(1, 8)}")
            for _ in range(chance.choice([0, 0, 0, 1, 2, 3])):
                table = chance.choice(list(TABLES))
                statement = chance.choice(SCHEMA_CHANGES).format(
                    table=table,
                    column=chance.choice(TABLES[table][0]),
                    number=chance.randint(2, 9),
                    value=chance.choice(VALUES),
                )
                with contextlib.suppress(sqlite3.Error):
                    connection.execute(statement)
            connection.execute("VACUUM")
        return path.read_bytes()


def damaged_database(content: bytes, chance: random.Random) -> bytes:
    """Return a database with some bytes changed, most of them where the format keeps its numbers."""
    changed = bytearray(content)
    size = int.from_bytes(content[16:18], "big") or 4096
    size = 65536 if size == 1 else size
    pages = len(content) // size
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 8])):
        page = chance.randrange(pages) * size
        what = chance.random()
        if what < 0.1:
            changed[chance.randrange(100)] = chance.choice(NUMBERS)
        elif what < 0.4:
            changed[page + chance.randrange(12)] = chance.choice(NUMBERS)
        elif what < 0.55:
            changed[page + 8 + chance.randrange(64)] = chance.choice(NUMBERS)
        elif what < 0.85:  # where a cell begins: sizes, rowids, types
            cells = max(int.from_bytes(changed[page + 3 : page + 5], "big"), 1)
            pointer = page + 8 + 2 * chance.randrange(min(cells, 60))
            cell = page + int.from_bytes(changed[pointer : pointer + 2], "big") + chance.randrange(30)
            if cell < len(changed):
                changed[cell] = chance.choice(NUMBERS)
        elif what < 0.93:
            other = chance.randrange(pages) * size
            changed[page : page + size] = changed[other : other + size]
        else:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.03 else changed)


def damaged_json(content: bytes, chance: random.Random) -> bytes:
    """Return a Chrome trace with tokens or bytes changed."""
    events = json.loads(content)
    some = events["traceEvents"] = chance.sample(events["traceEvents"], min(40, len(events["traceEvents"])))
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        event = chance.choice(some)
        target = chance.choice([event, event.get("args"), events])
        if isinstance(target, dict):
            target[chance.choice([*target, "args", "ts", "dur"])] = chance.choice(ODD)
    text = bytearray(json.dumps(events, indent=chance.choice([None, None, 1])).encode())
    for _ in range(chance.choice([0, 0, 1, 2, 8])):
        text[chance.randrange(len(text))] = chance.choice(b'{}[]",:\\0-9eE.xN\xff\n')
    return bytes(text[: chance.randrange(len(text))] if chance.random() < 0.05 else text)


def write_pages(folder: Path, chance: random.Random) -> Path:
    """Write a database for the comparison with sqlite3."""
    return written(folder / "t.sqlite", damaged_database(BASES.get(chance), chance))


def write_json(folder: Path, chance: random.Random) -> Path:
    """Write a Chrome trace."""
    return written(folder / "t.json", damaged_json(gzip.decompress(chance.choice(SEEDS["json"]).read_bytes()), chance))


def write_gzip(folder: Path, chance: random.Random) -> Path:
    """Write a compressed Chrome trace with bytes changed."""
    content = bytearray(chance.choice(SEEDS["json"]).read_bytes())
    for _ in range(chance.choice([1, 2, 8])):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return written(folder / "t.json.gz", bytes(content))


def write_manifest(folder: Path, chance: random.Random) -> Path:
    """Write a trace with a manifest of any content beside it."""
    manifest: dict[str, Any] = {
        "gpu": "NVIDIA H200",
        "sm_count": 132,
        "dtype": "float16",
        "tokens": 6,
        "versions": {"cuda": "13.0"},
    }
    manifest["traces"] = [{"file": "t.sqlite", "batch": 1, "kernels": 112}]
    for _ in range(chance.choice([0, 1, 2])):
        target = chance.choice([manifest, manifest["versions"], manifest["traces"][0]])
        target[chance.choice([name for name in target if name not in {"traces", "versions"}])] = chance.choice(ODD)
    if chance.random() < 0.2:
        manifest[chance.choice(["traces", "versions"])] = chance.choice(ODD)
    text = bytearray(json.dumps(manifest).encode())
    if chance.random() < 0.5:
        text[chance.randrange(len(text))] = chance.randrange(256)
    written(folder / "manifest.json", bytes(text))
    return written(folder / "t.sqlite", SEEDS["sqlite"][0].read_bytes())


def write_parquet(folder: Path, chance: random.Random) -> Path:
    """Write a Parquet export, one of its files damaged."""
    export = folder / "parquet"
    export.mkdir(exist_ok=True)
    contents = parquet_files()
    for name, content in contents.items():
        written(export / name, content)
    name = chance.choice(list(contents))
    changed = bytearray(contents[name])
    for _ in range(chance.choice([1, 2, 8])):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    written(export / name, bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed))
    return export


def parquet_files(cache: dict[str, bytes] = {}) -> dict[str, bytes]:  # noqa: B006 -- made once
    """Return a small export as Parquet files by name."""
    import pyarrow  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    if not cache:
        with contextlib.closing(sqlite3.connect(f"{SEEDS['sqlite'][0].as_uri()}?mode=ro", uri=True)) as connection:
            for table in (*TABLES, "TARGET_INFO_GPU", "META_DATA_EXPORT"):
                cursor = connection.execute(f"SELECT * FROM {table} LIMIT 60")
                names = [column[0] for column in cursor.description]
                columns = list(zip(*cursor.fetchall(), strict=True))
                sink = pyarrow.BufferOutputStream()
                pyarrow.parquet.write_table(pyarrow.table(dict(zip(names, map(list, columns), strict=True))), sink)
                cache[f"{table}.parquet"] = sink.getvalue().to_pybytes()
    return cache


def written(path: Path, content: bytes) -> Path:
    """Write a file that is not of this very moment, which a reader would wait for."""
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


class Bases:
    """Sound databases to damage; making one takes longer than reading it, so each is used a hundred times."""

    def __init__(self) -> None:
        self._content = b""
        self._left = 0

    def get(self, chance: random.Random) -> bytes:
        """Return the present one."""
        if not self._left:
            self._content, self._left = small_database(chance), 100
        self._left -= 1
        return self._content


def read(path: Path) -> None:
    """Read a trace and check that the table is consistent."""
    table = read_trace(path)
    covered = table.coverage
    assert covered.kernels == len(table) > 0
    assert covered.in_module + covered.in_phase_only + covered.outside_ranges + covered.no_launch == len(table)
    assert (table.duration_ns >= 0).all()
    assert (np.diff(table.launch_ns) >= 0).all()
    for codes, values in ((table.name, table.names), (table.key, table.keys)):
        assert codes.min() >= 0
        assert codes.max() < len(values)


def compare(path: Path) -> None:
    """Read each table from pages and by sqlite3."""
    refusals = 0
    with contextlib.closing(open_export(path)) as connection:
        by_pages, by_sqlite = SqliteExport(path, connection), SqliteExport(path, connection)
        by_sqlite._from_pages = _no_pages  # type: ignore[assignment, method-assign]
        for table in TABLES:
            try:
                found = whole(by_pages, table)
            except TracediffError:
                refusals += 1
                continue
            try:
                expected = whole(by_sqlite, table)
            except TracediffError as error:
                raise DifferError(f"{table}: pages read what sqlite3 refuses ({error})") from error
            if found != expected:
                raise DifferError(f"{table}: {found} != {expected}"[:2000])
    if refusals:
        raise TracediffError("refused")


def whole(export: SqliteExport, table: str) -> list[list[object]]:
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


SEEDS = {"sqlite": sorted(DATA.glob("*.sqlite")), "json": sorted(DATA.glob("torch-*-b1.json.gz"))}
BASES = Bases()
KINDS: dict[str, tuple[Callable[[Path, random.Random], Path], Callable[[Path], None]]] = {
    "pages": (write_pages, compare),
    "sqlite": (write_pages, read),
    "json": (write_json, read),
    "gzip": (write_gzip, read),
    "manifest": (write_manifest, read),
    "parquet": (write_parquet, read),
}


def work(kind: str, seconds: float, seed: int, keep: Path) -> None:
    """Fuzz one kind for some time, and print its counts as JSON after every hundred inputs."""
    make, check = KINDS[kind]
    counts = Counts()
    chance = random.Random(seed)

    def interrupt(*_: object) -> None:
        raise HangError

    signal.signal(signal.SIGALRM, interrupt)
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        allowed = 0
        while time.monotonic() < ends:
            path = make(Path(name), chance)
            signal.alarm(HANG_SECONDS)
            counts.inputs += 1
            try:
                check(path)
                counts.clean += 1
            except TracediffError as error:
                counts.refused += 1
                assert "\n" not in str(error)
            except HangError:
                counts.hangs += 1
                kept(path, keep, kind, seed, counts.inputs, "hang")
            except DifferError as difference:
                counts.differ += 1
                kept(path, keep, kind, seed, counts.inputs, str(difference))
            except Exception:
                counts.tracebacks += 1
                kept(path, keep, kind, seed, counts.inputs, traceback.format_exc())
            finally:
                signal.alarm(0)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if counts.inputs == 200:
                allowed = peak * MEMORY_TIMES
            elif allowed and peak > allowed:
                counts.memory += 1
                allowed = peak * MEMORY_TIMES
                kept(path, keep, kind, seed, counts.inputs, f"peak memory {peak >> 10} MB")
            if counts.inputs % 100 == 0:
                print(json.dumps(asdict(counts)), flush=True)
    print(json.dumps(asdict(counts)), flush=True)


def kept(path: Path, keep: Path, kind: str, seed: int, number: int, why: str) -> None:
    """Keep an input that failed, and why."""
    target = keep / f"{kind}-{seed}-{number}"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(path.parent, target, dirs_exist_ok=True)
    (target / "why.txt").write_text(why)
    print(f"{target}: {why.strip().splitlines()[-1][:200]}", file=sys.stderr)


def run(kind: str, seconds: float, seed: int, keep: Path) -> Counts:
    """Fuzz one kind in processes of its own; one that dies is a crash, and the next goes on."""
    total = Counts()
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 1:
        command = [sys.executable, __file__, "--worker", kind, "--seconds", str(left), "--seed", str(seed)]
        done = subprocess.run([*command, "--keep", str(keep)], stdout=subprocess.PIPE, text=True, check=False)
        lines = done.stdout.splitlines()
        counts = Counts(**json.loads(lines[-1])) if lines else Counts()
        counts.crashes += done.returncode != 0
        for each in fields(Counts):
            setattr(total, each.name, getattr(total, each.name) + getattr(counts, each.name))
        seed += 1_000_000
    return total


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_readers")
    parser.add_argument("--worker", choices=list(KINDS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.seconds, arguments.seed, arguments.keep)
        return
    names = [each.name for each in fields(Counts)]
    print(f"| kind | {' | '.join(names)} |\n| --- {'| --- ' * len(names)}|")
    for kind in arguments.kinds:
        counts = run(kind, arguments.seconds / len(arguments.kinds), arguments.seed, arguments.keep)
        print(f"| {kind} | {' | '.join(f'{getattr(counts, name):,}' for name in names)} |", flush=True)


if __name__ == "__main__":
    main()
