"""The kinds of input that `fuzz_readers.py` makes: how each is written, and what reads it."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import itertools
import json
import math
import random
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
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
    damaged_text,
    few,
    sidecar,
    small_export,
    sql_text,
    written,
)
from fuzz_outputs import (
    DIFF_OUTPUTS,
    TABLE_OUTPUTS,
    OutputError,
    json_lines,
    one_output,
    plain_text,
    require,
    safe_csv,
    safe_html,
    safe_markdown,
    strict_json,
)

from tracediff.capture.manifest import listed_files, read_manifest
from tracediff.cli import app
from tracediff.diff import diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.show import show_table
from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite
from tracediff.findings.flips import FlipSettings
from tracediff.measure.flips_log import SearchLog
from tracediff.measure.part_file import PartFile
from tracediff.measure.prompts import read_prompts
from tracediff.measured import MalformedEvidenceError, decode_evidence, encode_evidence, read_evidence
from tracediff.measured.logits import read_logits
from tracediff.report.diff.sqlite import save_show
from tracediff.trace import KernelTable, read_trace
from tracediff.trace.open_export import open_export
from tracediff.trace.sqlite_export import SqliteExport
from tracediff.trace.sqlite_pages import UnusualPageError

#: Rendering takes several times as long as reading a trace of this size.
UNRENDERED = 0.75

Make = Callable[[Path, random.Random], Path]
Check = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        make: Writes one into a folder that may hold the one before; returns its path.
        check: Reads it, and renders what was read in one format: TracediffError where it is refused.
        share: How many inputs it gets, compared with other kinds: more where they are small and quick.
        needs: Module that the reader imports, if that is optional.
    """

    make: Make
    check: Check
    share: float = 1.0
    needs: str | None = None


class DifferError(Exception):
    """The page reader and sqlite3 do not say the same."""


class BugError(Exception):
    """A command ended with a traceback."""


@functools.cache
def document(path: str) -> Any:
    """Return a JSON file of the profiles."""
    return json.loads((PROFILES / path).read_text())


@functools.cache
def sound(name: str) -> KernelTable:
    """Return the kernel table of a real trace."""
    return read_trace(TRACES / name)


# -- traces -----------------------------------------------------------------------------------------------------------


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
def _texts() -> tuple[str, ...]:
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
            changed = changed_words(text, chance.choice(_texts()), chance)
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


# -- Parquet ----------------------------------------------------------------------------------------------------------


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


# -- documents beside a trace -----------------------------------------------------------------------------------------


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
def _evidence(path: str) -> Any:
    """Return evidence of a few modules."""
    whole = document(path)
    pair = whole["pairs"][0]
    modules = {
        phase: dict(itertools.islice(found.items(), 12))
        for phase, found in itertools.islice(pair["modules"].items(), 2)
    }
    small = {name: whole[name][:2] for name in ("unstable",) if name in whole}
    return {**whole, **small, "pairs": [{**pair, "modules": modules}]}


def make_evidence(folder: Path, chance: random.Random) -> Path:
    """Write what was measured of a pair of traces."""
    seed = chance.choice(["llama-3-8b-float16", "llama-3.2-1b-float16-700-tokens"])
    return written(folder / "evidence.json", damaged_document(_evidence(f"{seed}/evidence.json"), chance))


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


# -- results, through the command line --------------------------------------------------------------------------------


_COMMAND = app


def run_command(*words: str | Path, text: str = "", told: Callable[[str], object] = plain_text) -> None:
    """Run a command; check what it prints. Raises TracediffError where it ends in one line of error."""
    stdin, stdout, stderr = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass"))), _stream(), _stream()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
    try:
        code = _COMMAND([str(word) for word in words], standalone_mode=False, prog_name="tracediff")
    except SystemExit as left:
        code = left.code
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    said, printed = _text(stderr), _text(stdout)
    if "this is a bug in tracediff" in said:
        raise BugError(said)
    plain_text(said)
    if code == 2:
        require(said.splitlines()[-1].startswith("tracediff: "), f"an error that is not one line: {said[-300:]!r}")
        raise TracediffError(said.splitlines()[-1])
    require(code in (None, 0), f"exit code {code}")
    told(printed)


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer.getvalue()  # type: ignore[attr-defined]
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise OutputError(f"output that is not UTF-8: {error}") from error


_TOLD: dict[str, Callable[[str], object]] = {
    "json": strict_json,
    "csv": safe_csv,
    "markdown": safe_markdown,
    "table": plain_text,
}


def shown_by(command: str, *formats: str, page: float = 0.0) -> Check:
    """Return what shows a result file by a command, in one of its formats; with a probability also as a page."""

    def check(path: Path, chance: random.Random) -> None:
        name = chance.choice(formats)
        more = chance.random() < page
        html = path.with_suffix(".html")
        words = ["--html", html, "--force"] if more else []
        run_command(command, path, "--format", name, *words, told=_TOLD[name])
        if more:
            safe_html(html.read_text(encoding="utf-8"))

    return check


def result_of(name: str, make: Callable[[], Any]) -> Make:
    """Return what writes a damaged result file."""
    seed = functools.cache(make)
    return lambda folder, chance: written(folder / name, damaged_document(seed(), chance))


def _flips() -> Any:
    """Return a search of one prompt that flips."""
    whole = document("tokens/flips_generate.json")
    search = next(search for search in whole["searches"] if any(prompt["flips"] for prompt in search["prompts"]))
    prompt = next(prompt for prompt in search["prompts"] if prompt["flips"])
    small = {**search, "prompts": [{**prompt, "flips": prompt["flips"][:1]}]}
    settings = {**whole["settings"], "precisions": [[search["dtype"], search["tf32"]]]}
    return {**whole, "settings": settings, "searches": [small]}


def _determinism() -> Any:
    whole = document("tokens/determinism.json")
    varying = [row for row in whole["rows"] if row["first_different"]]
    return {**whole, "rows": [*whole["rows"][:2], *varying[:2]]}


def _map(path: str = "maps/llama-3-8b-float16-h100.json") -> Any:
    """Return a map of a few modules and row counts."""
    whole = document(path)
    return {**whole, "modules": [_few_counts(module) for module in whole["modules"][:4]]}


def _few_counts(module: Any, most: int = 12) -> Any:
    cut = {name: module[name][:most] for name in ("rows", "nanoseconds")}
    for name in ("bits", "order", "predicted", "reason", "kernels"):
        cut[name] = {**module[name], "index": module[name]["index"][:most]}
    return {**module, **cut}


def _remedies() -> Any:
    whole = document("remedies/llama-3-8b-float16-h100.json")
    kept = [each["setting"] for each in whole["bits"][:3]]
    times = [
        {**each, "rounds": {name: rounds for name, rounds in each["rounds"].items() if name in kept}}
        for each in whole["times"][:3]
    ]
    return {**whole, "bits": whole["bits"][:3], "times": times}


def make_two_maps(folder: Path, chance: random.Random) -> Path:
    """Write a map, and another whose modules it may share."""
    written(folder / "b.json", json.dumps(_map()).encode())
    path = chance.choice(["maps/llama-3-8b-float16-h100.json", "maps/llama-3-8b-float16-h200.json"])
    return written(folder / "a.json", damaged_document(_map(path), chance))


def check_map(path: Path, chance: random.Random) -> None:
    """Show a map, or compare it with another."""
    if chance.random() < 0.6:
        shown_by("map", "json", "csv", "table", page=0.1)(path, chance)
    else:
        name = chance.choice(["json", "table"])
        run_command("diff", path, path.with_name("b.json"), "--format", name, told=_TOLD[name])


def make_capture(folder: Path, chance: random.Random) -> Path:
    """Write what a capture's folder holds, one of the documents damaged."""
    path = folder / "capture"
    path.mkdir(exist_ok=True)
    documents = {
        "manifest.json": document("llama-3-8b-float16/manifest.json"),
        "evidence.json": _evidence("llama-3-8b-float16/evidence.json"),
        "flips.json": _flips(),
        "determinism.json": _determinism(),
    }
    damaged = chance.choice(list(documents))
    for name, content in documents.items():
        if name == damaged:
            written(path / name, damaged_document(content, chance))
        else:
            written(path / name, json.dumps(content).encode())
    return path


def check_capture(path: Path, chance: random.Random) -> None:
    """Explain what a capture found."""
    name = chance.choice(["json", "markdown", "table"])
    run_command("explain", path, "--format", name, told=_TOLD[name])


# -- text that people paste -------------------------------------------------------------------------------------------

_PASTED = (
    '{"choices":[{"logprobs":{"content":[{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"a","logprob":-0.5},'
    '{"token":"b","logprob":-1.25}]}]}}],"usage":{"total_tokens":7}}',
    '{"a": 1.5, "b": 1.25, "c": -9999.0}',
    "[12.5, 12.4375, 11.0]",
    "tensor([[1.5000, 1.2500], [0.1, -inf]], device='cuda:0', dtype=torch.bfloat16)",
    "{11: Logprob(logprob=-0.49, rank=1, decoded_token=' a'), 12: Logprob(logprob=-1.2, rank=2, decoded_token='b')}",
    "[('a', -0.5), ('b', -1.25)]",
    "[12.5   12.4375 11.    ]",
    'data: {"choices":[{"logprobs":{"content":[]}}]}\n\ndata: {"top_logprobs": {"a": -0.5, "b": -1.5}}\n\ndata: [DONE]',
    "| token | logprob |\n| --- | --- |\n| a | -0.5 |\n| b | -1.25 |",
    "token,logprob,rank\na,-0.5,1\nb,-1.25,2\n",
    "INFO step=1 token='a' logprob=-0.49\nINFO step=1 token='b' logprob=-1.20\n",
    '{"completion_probabilities":[{"content":"a","probs":[{"tok_str":"a","prob":0.7},{"tok_str":"b","prob":0.3}]}]}',
    '{"meta_info":{"output_top_logprobs":[[[-0.5,11,"a"],[-1.5,12,"b"]]]}}',
    "torch.return_types.topk(values=tensor([1.5, 1.25]), indices=tensor([3, 7]))",
    "a 45.2%\nb 12.5%\nc 3%",
    "1.5\t1.25\t0.5\n2.5\t2.25\t0.25",
)
_PASTED_BYTES = b"[](){}<>,:=|'\"\\ .-+eE0123456789infa\n\t%#\xe2\xff"


def make_lattice(folder: Path, chance: random.Random) -> Path:
    """Write logits as people paste them."""
    text = chance.choice(_PASTED)
    if chance.random() < 0.4:
        text = changed_words(text, chance.choice(_PASTED), chance)
    content = text.encode("utf-8", "surrogatepass")
    return written(folder / "t.txt", damaged_text(content, chance, _PASTED_BYTES) if chance.random() < 0.6 else content)


def check_lattice(path: Path, chance: random.Random) -> None:
    """Read pasted logits."""
    name = chance.choice(["json", "table"])
    words = chance.choice([[], [], ["--dtype", "float16"], ["--kind", "logprobs"], ["--kind", "probabilities"]])
    run_command("lattice", path, "--format", name, *words, told=_TOLD[name])


_ROWS = (
    "{0}", "| {0} | 12 | 3.4 ms |", "   43.6    1,234,567   12  {0}", '"{0}",1,2,3', "`{0}`: 3.4 us", "* {0} [123]",
    "GPU activities:  12.34%  1.72898s  4385  394.29us  {0}", "  {0} (64, 1, 1)x(128, 1, 1), Context 1, Stream 7",
    "{0}\t12\t3.5",
)  # fmt: skip


def make_names(folder: Path, chance: random.Random) -> Path:
    """Write kernel names as rows of tables."""
    lines = []
    for _ in few(chance, 1, 2, 5):
        name = changed_words(chance.choice(_texts()), chance.choice(_texts()), chance)
        lines.append(chance.choice(_ROWS).replace("{0}", name))
    return written(folder / "names.txt", "\n".join(lines).encode("utf-8", "surrogatepass"))


def check_names(path: Path, chance: random.Random) -> None:
    """Read pasted names, and explain their tokens."""
    text = path.read_bytes().decode("utf-8", "surrogatepass")
    words = [*chance.choice([[], ["--explain"]]), *chance.choice([[], ["--format", "json"]])]
    run_command("name", "-", *words, text=text, told=json_lines if "json" in words else plain_text)


def make_prompts(folder: Path, chance: random.Random) -> Path:
    """Write a file of prompts."""
    lines = _prompt_lines()[: chance.choice([1, 3])]
    some = [damaged_document(json.loads(line), chance) if chance.random() < 0.5 else line.encode() for line in lines]
    content = b"\n".join(some) if chance.random() < 0.8 else damaged_text(b"one\r\ntwo\n\nthree", chance, _PASTED_BYTES)
    return written(folder / "prompts.jsonl", content)


@functools.cache
def _prompt_lines() -> list[str]:
    return (PROFILES / "tokens" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()[:3]


def check_prompts(path: Path, _: random.Random) -> None:
    """Read prompts."""
    prompts = read_prompts(path)
    require(prompts and all(each.text for each in prompts), "an empty prompt")


# -- what measuring leaves --------------------------------------------------------------------------------------------


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
    evidence = {**_evidence("llama-3-8b-float16/evidence.json")}
    written(folder / "evidence.json", json.dumps(evidence).encode())
    content = damaged_bytes(bytearray(content), chance) if chance.random() < 0.2 else content
    return written(folder / "logits.safetensors", content)


def check_logits(path: Path, chance: random.Random) -> None:
    """Compare traces whose evidence is completed by stored logits."""
    one_output(DIFF_OUTPUTS, attach_evidence(_pair(path.parent)), path.parent, chance)
    read_logits(path)


def make_part(folder: Path, chance: random.Random) -> Path:
    """Write what an interrupted measurement left."""
    records = [
        {"asked": {"model": "llama-3-8b"}},
        {"machine": {"device": "cuda", "gpu": "NVIDIA H100"}},
        {"module": _map()["modules"][0]},
        {"note": "a note"},
    ]
    if chance.random() < 0.5:
        flips = _flips()
        prompt = flips["searches"][0]["prompts"][0]
        records = [
            {"settings": flips["settings"], "machine": flips["machine"]},
            {"search": 0, "repeatable": True},
            {"search": 0, "prompt": prompt},
            {"search": 0, "independent": [2, 64, True]},
        ]
    place = chance.randrange(len(records))
    lines = [
        damaged_document(record, chance) if number == place else json.dumps(record).encode()
        for number, record in enumerate(records)
    ]
    content = b"\n".join(lines) + chance.choice([b"\n", b"", b"\n{"])
    return written(folder / "out.json.part", content)


def check_part(path: Path, _: random.Random) -> None:
    """Resume what an interrupted measurement left."""
    if b'"settings"' in path.read_bytes()[:20]:
        settings = msgspec.convert(_flips()["settings"], FlipSettings)
        SearchLog.open(path, settings, _flips()["machine"], force=False)
    else:
        PartFile.open(path.with_suffix(""), {"model": "llama-3-8b"}, minutes=None, force=False)


def check_fleet(path: Path, chance: random.Random) -> None:
    """Group the traces of a dataset."""
    name = chance.choice(["json", "text"])
    run_command("fleet", path, "--format", name, told=strict_json if name == "json" else plain_text)


KINDS = {
    "pages": Kind(make_export, compare_with_sqlite),
    "sqlite": Kind(make_export, check_trace),
    "texts": Kind(make_texts, check_trace, share=0.6),
    "saved": Kind(make_saved, check_trace),
    "json": Kind(make_json, check_trace),
    "gzip": Kind(make_gzip, check_trace),
    "foreign": Kind(make_foreign, check_trace, share=3),
    "manifest": Kind(make_manifest, check_manifest),
    "evidence": Kind(make_evidence, check_evidence, share=0.6),
    "logits": Kind(make_logits, check_logits, share=0.6),
    "flips": Kind(result_of("flips.json", _flips), shown_by("flips", "json", "table", page=0.005)),
    "determinism": Kind(result_of("determinism.json", _determinism), shown_by("determinism", "json", "table"), share=3),
    "map": Kind(make_two_maps, check_map, share=2),
    "remedies": Kind(
        result_of("remedies.json", _remedies), shown_by("remedies", "json", "csv", "markdown", "table"), share=2
    ),
    "explain": Kind(make_capture, check_capture),
    "part": Kind(make_part, check_part, share=4),
    "lattice": Kind(make_lattice, check_lattice, share=3),
    "names": Kind(make_names, check_names, share=4),
    "prompts": Kind(make_prompts, check_prompts, share=4),
    "parquet": Kind(make_parquet, check_trace, share=0.6, needs="pyarrow"),
    "fleet": Kind(make_dataset, check_fleet, share=0.6, needs="pyarrow"),
}
