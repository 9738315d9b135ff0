"""Reading pages gives what SQLite gives, or leaves the table to SQLite."""

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_exports import DATA

from tracediff.errors import TracediffError
from tracediff.trace import columns as columns_module
from tracediff.trace.columns import NULL
from tracediff.trace.open_export import open_export
from tracediff.trace.sqlite_export import SqliteExport
from tracediff.trace.sqlite_pages import PageFile, UnusualPageError

EXPORTS = sorted(DATA.glob("*.sqlite"))
TABLES = {
    "CUPTI_ACTIVITY_KIND_KERNEL": ("start", "end", "gridX", "blockZ", "dynamicSharedMemory", "graphNodeId", "nothing"),
    "CUPTI_ACTIVITY_KIND_RUNTIME": ("start", "correlationId", "globalTid"),
    "NVTX_EVENTS": ("start", "end", "eventType", "globalTid", "textId", "domainId"),
}
QUIET = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def whole(path, table, names, text=None, pages=True):
    """Return a whole table as lists, read from pages where they allow it, or by SQLite alone."""
    with contextlib.closing(open_export(Path(path))) as connection:
        export = SqliteExport(Path(path), connection)
        if not pages:
            export._from_pages = refuse
        integers = {name: [] for name in names}
        texts = []
        for rows in export.chunks(table, names, text):
            for name in names:
                integers[name] += rows.integers[name].tolist()
            if rows.text is not None:
                raw = rows.text.take(np.arange(len(rows.rowid)))
                texts += [None if each is None else each.decode("utf-8", "replace") for each in raw]
        return integers, texts


def refuse(*_arguments):
    raise UnusualPageError
    yield


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("table", TABLES)
def test_real_tables_equal_sqlites(path, table):
    text = "text" if table == "NVTX_EVENTS" else None
    assert whole(path, table, TABLES[table], text) == whole(path, table, TABLES[table], text, pages=False)


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("table", TABLES)
def test_real_tables_need_no_help_of_sqlite(path, table):
    with contextlib.closing(open_export(path)) as connection:
        export = SqliteExport(path, connection)
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert sum(len(rows.rowid) for rows in export._from_pages(export.table(table), ["start"], None)) == count


def whole_or_refused(*arguments, **options):
    """Return what `whole` returns, or the error."""
    try:
        return whole(*arguments, **options)
    except TracediffError as error:
        return str(error)


INTEGERS = st.one_of(
    st.none(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.sampled_from([sign * 2**n + less for n in (0, 7, 15, 23, 31, 47, 62) for sign in (1, -1) for less in (0, -1)]),
)  # fmt: skip
OTHERS = st.one_of(st.floats(allow_nan=False), st.text(max_size=80), st.binary(max_size=80))
TEXTS = st.none() | st.text(max_size=80)
ROWS = st.lists(st.tuples(INTEGERS, INTEGERS, INTEGERS, TEXTS), max_size=60)
ROWS_WITH_OTHERS = st.lists(st.tuples(*(INTEGERS | OTHERS for _ in range(4))), max_size=60)


@QUIET
@given(
    rows=ROWS | ROWS_WITH_OTHERS,
    long=st.integers(0, 20_000),
    page_size=st.sampled_from([512, 1024, 4096, 65536]),
    encoding=st.sampled_from(["UTF-8", "UTF-16le"]),
    first=st.sampled_from([1, -(2**62), 2**62, 127, 16_383]),
    then=st.sampled_from(
        ["", "DELETE FROM t WHERE rowid % 3 = 0", "ALTER TABLE t ADD COLUMN d INTEGER DEFAULT 7",
         "ALTER TABLE t ADD COLUMN d INTEGER AS (c * 2)", "ALTER TABLE t DROP COLUMN a", "CREATE INDEX i ON t (c, b)",
         "UPDATE t SET b = rowid WHERE rowid % 2"]
    ),
)  # fmt: skip
def test_any_table_equals_sqlites(tmp_path_factory, rows, long, page_size, encoding, first, then):
    path = tmp_path_factory.mktemp("pages") / "t.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA page_size = {page_size}; PRAGMA encoding = '{encoding}';")
    connection.execute("CREATE TABLE t (a INTEGER, b INTEGER, text TEXT, c INTEGER)")
    for index, (a, b, c, short) in enumerate(rows):
        text = "long " * (long // 5) if index % 7 == 3 else short
        connection.execute(
            "INSERT INTO t (rowid, a, b, text, c) VALUES (?, ?, ?, ?, ?)", (first + index, a, b, text, c)
        )
    connection.commit()
    connection.executescript(then)
    connection.close()
    names = ("a", "b", "c", "d")
    assert whole_or_refused(path, "t", names, "text") == whole_or_refused(path, "t", names, "text", pages=False)
    assert whole_or_refused(path, "t", ("c",)) == whole_or_refused(path, "t", ("c",), pages=False)


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)",
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER) WITHOUT ROWID",
        "CREATE TABLE t (a INTEGER, b INTEGER AS (a * 2) STORED)",
        "CREATE TABLE t (a INTEGER, b INTEGER AS (a * 2))",
        "CREATE TABLE t (v INTEGER AS (a * 2), a INTEGER, b INTEGER DEFAULT 3)",
        "CREATE TABLE t (v INTEGER AS (a * 2) STORED, a INTEGER, b INTEGER DEFAULT 3)",
        "CREATE TABLE t (b INTEGER DEFAULT 3, v INTEGER GENERATED ALWAYS AS (1) VIRTUAL, a INTEGER)",
        "CREATE TABLE t (a INTEGER PRIMARY KEY DESC, b INTEGER)",
        "CREATE TABLE t (a INT PRIMARY KEY, b INTEGER)",
        "CREATE TABLE t (a INTEGER, b INTEGER DEFAULT 5, PRIMARY KEY (a))",
        "CREATE TABLE t (a INTEGER, b INTEGER DEFAULT 5, PRIMARY KEY (a, b))",
        "CREATE TABLE t (a NUMERIC, b)",
        "CREATE TABLE t (b TEXT, a INTEGER)",
    ],
)
def test_columns_that_are_not_stored_as_they_read(tmp_path, schema):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(schema)
        for value in range(300):
            connection.execute("INSERT INTO t (a) VALUES (?)", (value,))
    connection.close()
    assert whole(path, "t", ("a", "b")) == whole(path, "t", ("a", "b"), pages=False)


@pytest.mark.parametrize("column", ["a", "b"])
def test_the_number_that_means_null_here_is_refused(tmp_path, column):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
        for value in range(300):
            connection.execute("INSERT INTO t VALUES (?, ?)", (value, -(2**62)))
        connection.execute(f"UPDATE t SET {column} = {-(2**63)} WHERE a = 200")
    connection.close()
    for pages in (True, False):
        with pytest.raises(TracediffError, match="holds the number -9223372036854775808"):
            whole(path, "t", ("a", "b"), pages=pages)


@pytest.mark.parametrize("drop", [0, 1, 50])
def test_rows_that_a_damaged_page_lost_are_not_silently_missing(tmp_path, drop):
    path = tmp_path / "t.sqlite"
    path.write_bytes((DATA / "cuda-graph-b1.sqlite").read_bytes())
    file = PageFile(path)
    with sqlite3.connect(path) as connection:
        name = "CUPTI_ACTIVITY_KIND_KERNEL"
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    connection.close()
    page = (int(file.leaves(root)[0][0]) - 1) * file.page_size
    file.close()
    content = bytearray(path.read_bytes())
    count = int.from_bytes(content[page + 3 : page + 5], "big")
    content[page + 3 : page + 5] = (min(drop, count - 1)).to_bytes(2, "big")
    path.write_bytes(content)
    with pytest.raises(TracediffError, match="damaged"):
        whole(path, name, ("start",))


def test_pages_that_were_not_appended_to_are_read_without_sqlite(tmp_path):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, text TEXT)")
        for value in range(3000):
            connection.execute("INSERT INTO t VALUES (?, ?)", (value, "x" * (value % 37)))
        connection.execute("DELETE FROM t WHERE rowid % 3 = 0")
        connection.execute("UPDATE t SET a = a * 100000, text = 'longer than it was' WHERE rowid % 7 = 1")
    connection.close()
    with contextlib.closing(open_export(path)) as connection:
        export = SqliteExport(path, connection)
        found = [row for rows in export._from_pages(export.table("t"), ["a"], "text") for row in rows.integers["a"]]
    assert found == whole(path, "t", ("a",), pages=False)[0]["a"]


def test_sqlite_goes_on_where_pages_stop(tmp_path):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", ((value,) for value in range(400_000)))
        connection.execute("ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 5")
        connection.execute("UPDATE t SET b = 6 WHERE rowid < 390000")
    connection.close()
    integers, _ = whole(path, "t", ("a", "b"))
    assert integers["a"] == list(range(400_000))
    assert integers["b"] == [6] * 389_999 + [5] * 10_001


# Derandomized: what SQLite says of some damaged pages depends on the memory behind them.
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(EXPORTS), table=st.sampled_from(sorted(TABLES)), data=st.data())
def test_damaged_pages_read_as_sqlite_reads_them_or_are_refused(tmp_path_factory, path, table, data):
    content = bytearray(path.read_bytes())
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    file = PageFile(path)
    pages = [root, *file.leaves(root)[0].tolist()]
    file.close()
    for _ in range(data.draw(st.integers(1, 4))):
        page = data.draw(st.sampled_from(pages)) - 1
        # Most damage that matters is in headers: of the page, and of its cells, which stand at its end.
        offset = data.draw(st.one_of(st.integers(0, 40), st.integers(0, 4095), st.integers(3500, 4095)))
        content[page * 4096 + offset] = data.draw(st.sampled_from([0, 1, 2, 5, 8, 10, 12, 13, 127, 128, 129, 255]))
    damaged = tmp_path_factory.mktemp("damaged") / "trace.sqlite"
    damaged.write_bytes(content)
    text = "text" if table == "NVTX_EVENTS" else None
    try:
        found = whole(damaged, table, TABLES[table], text)
    except TracediffError:
        return
    assert found == whole(damaged, table, TABLES[table], text, pages=False)


def test_codes_stand_for_numbers_of_any_size():
    codes = columns_module.Codes()
    parts = [[5, 5, 7], [NULL, 2**62, 5], [3_000_000, 7], []]
    coded = [codes.of(np.array(part, dtype=np.int64)).tolist() for part in parts]
    values = codes.values
    assert [[values[code] for code in part] for part in coded] == parts
    assert len(set(values)) == len(values)


def read_while(path, change, monkeypatch):
    """Read the kernels one page at a time, and change the file behind the first of them."""
    monkeypatch.setattr("tracediff.trace.sqlite_pages._PAGES_PER_CHUNK", 1)
    monkeypatch.setattr("tracediff.trace.sqlite_pages._THREADS", 10**9)
    with contextlib.closing(open_export(path)) as connection:
        chunks = SqliteExport(path, connection).chunks("CUPTI_ACTIVITY_KIND_KERNEL", ("start",))
        starts = next(chunks).integers["start"].tolist()
        change(path)
        for rows in chunks:
            starts += rows.integers["start"].tolist()
    return starts


def test_a_file_that_grows_while_it_is_read_reads_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "t.sqlite"
    path.write_bytes((DATA / "cuda-graph-b1.sqlite").read_bytes())
    expected = whole(path, "CUPTI_ACTIVITY_KIND_KERNEL", ("start",))[0]["start"]

    def grow(file):
        with file.open("ab") as handle:
            handle.write(b"more" * 5000)

    assert read_while(path, grow, monkeypatch) == expected


def test_a_file_that_shrinks_while_it_is_read_is_damaged(tmp_path, monkeypatch):
    path = tmp_path / "t.sqlite"
    path.write_bytes((DATA / "cuda-graph-b1.sqlite").read_bytes())
    with pytest.raises(TracediffError, match="damaged"):
        read_while(path, lambda file: file.open("r+b").truncate(8192), monkeypatch)


def changed_at(path, marker, offset, values):
    """Overwrite bytes of a file, counted from where `marker` stands."""
    content = bytearray(path.read_bytes())
    at = content.index(marker) + offset
    content[at : at + len(values)] = values
    path.write_bytes(content)


@pytest.mark.parametrize("code", [10, 11])
@pytest.mark.parametrize("text", ["x", "x" * 70])
def test_types_that_the_format_reserves_read_as_sqlite_reads_them(tmp_path, code, text):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, text TEXT, b INTEGER)")
        connection.execute("INSERT INTO t VALUES (300, ?, NULL)", (f"marker{text}",))
        connection.execute("INSERT INTO t VALUES (5, 'y', 6)")
    connection.close()
    # The record's header ends with the type of b; behind it stand two bytes of a, then the text.
    changed_at(path, b"marker", -3, [code])
    assert whole(path, "t", ("a", "b"), "text") == whole(path, "t", ("a", "b"), "text", pages=False)


def test_pages_that_the_header_does_not_count_are_refused_as_sqlite_refuses_them(tmp_path):
    path = tmp_path / "t.sqlite"
    path.write_bytes((DATA / "cuda-graph-b1.sqlite").read_bytes())
    content = bytearray(path.read_bytes())
    content[28:32] = (int.from_bytes(content[28:32], "big") // 2).to_bytes(4, "big")
    path.write_bytes(content)
    file = PageFile(path)
    try:
        assert file.pages == int.from_bytes(content[28:32], "big")
    finally:
        file.close()
    name = "CUPTI_ACTIVITY_KIND_KERNEL"
    with pytest.raises(TracediffError, match="damaged"):
        whole(path, name, ("start",))


@pytest.mark.parametrize("which", ["leaf twice", "interior key", "leaf type"])
def test_a_tree_that_breaks_a_rule_is_refused(tmp_path, which):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", ((value,) for value in range(2000)))
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master").fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    page = (root - 1) * 512
    first, second = (page + int.from_bytes(content[page + 12 + at : page + 14 + at], "big") for at in (0, 2))
    if which == "leaf twice":
        content[first : first + 4] = content[second : second + 4]
    elif which == "interior key":
        content[first + 4] ^= 1
    else:
        content[(int.from_bytes(content[first : first + 4], "big") - 1) * 512] = 10
    path.write_bytes(content)
    with pytest.raises(TracediffError, match="damaged"):
        whole(path, "t", ("a",))


@pytest.mark.parametrize("size", [512, 1024, 4096, 32768, 65536])
def test_pages_of_every_size_are_read_without_sqlite(tmp_path, size):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA page_size = {size}")
        connection.execute("CREATE TABLE t (a INTEGER, text TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((value, f"{value}") for value in range(20_000)))
    connection.close()
    with contextlib.closing(open_export(path)) as connection:
        export = SqliteExport(path, connection)
        found = [row for rows in export._from_pages(export.table("t"), ["a"], "text") for row in rows.integers["a"]]
    assert found == list(range(20_000))


@pytest.mark.parametrize(
    ("page_size", "reserved", "readable"),
    [
        (512, 0, True),
        (512, 32, True),  # 480 usable bytes are the fewest that the format allows
        (512, 33, False),
        (256, 0, False),
        (768, 0, False),
        (4096, 255, True),
    ],
)
def test_page_sizes_that_the_format_forbids_are_left_to_sqlite(tmp_path, page_size, reserved, readable):
    path = tmp_path / "t.sqlite"
    header = bytearray(100)
    header[16:18] = page_size.to_bytes(2, "big")
    header[20] = reserved
    path.write_bytes(bytes(header) + bytes(2 * page_size))
    if not readable:
        with pytest.raises(UnusualPageError):
            PageFile(path)
        return
    file = PageFile(path)
    file.close()
    assert (file.page_size, file.usable) == (page_size, page_size - reserved)
