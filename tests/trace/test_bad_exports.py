"""Whatever is wrong with a file, the user gets one line that says so, and the file stays as it is."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from small_exports import DATA, PROCESS, THREAD, SmallExport, modules, one_module

from tracediff.errors import TracediffError
from tracediff.trace import read_trace

LLAMA = DATA / "llama-two-blocks-b1.sqlite"
NUMBERS = [-1, 0, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**62, -(2**62)]


def refusal(path):
    """Return the one line that reading `path` ends with."""
    with pytest.raises(TracediffError) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


KERNEL_COLUMNS = sorted(one_module().rows["CUPTI_ACTIVITY_KIND_KERNEL"][0])


def is_refused(column, value):
    """Whether no trace holds such a value: no number, the one that means NULL here, and times beyond a lifetime."""
    if not isinstance(value, int):
        return value is not None
    return value == -(2**63) or (column in {"start", "end"} and abs(value) > 4e18)


def is_read(table, column):
    return (table, column) not in {
        ("CUPTI_ACTIVITY_KIND_RUNTIME", "end"),
        ("CUPTI_ACTIVITY_KIND_RUNTIME", "textId"),
        ("CUPTI_ACTIVITY_KIND_RUNTIME", "domainId"),
    }


def without(tmp_path, *statements):
    """Return a copy of a real export after some SQL."""
    path = tmp_path / "trace.sqlite"
    shutil.copy(LLAMA, path)
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def test_missing_file_is_not_made(tmp_path):
    path = tmp_path / "trace.sqlite"
    assert "no such file" in refusal(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("trace.sqlite", b"", "is empty"),
        ("trace.sqlite", b"kernel,start,end\n", "text file"),
        ("trace.sqlite", b"kernel\x7fstart\n", "not an SQLite database, and not a trace of another kind"),
        ("trace.sqlite", bytes(range(256)) * 20, "not an SQLite database"),
        ("trace.sqlite", b"SQLite format 3\x00", "not an SQLite database"),
        ("trace.sqlite", b"SQLite format 3\x00" + b"\xff" * 5000, "damaged or cut short"),
        ("run.qdstrm", b"\x01\x02\x03\x04", "unfinished recording"),
    ],
)
def test_what_is_no_export_is_named(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("trace.zip", b"PK\x03\x04" + bytes(100), "is a zip archive, not a trace: unpack it"),
        ("trace.sqlite", b"PK\x03\x04" + bytes(100), "is a zip archive"),
        ("host.xplane.pb", b"\n\x10/device:GPU:0", "is a JAX or TensorFlow profile"),
        ("run.ncu-rep", b"NVR\x00", "is an Nsight Compute report"),
        ("trace.json.zst", b"\x28\xb5\x2f\xfd" + bytes(9), "is compressed with zstd"),
        ("StringIds.parquet", b"PAR1" + bytes(9), "name the folder"),
        ("run.tar", bytes(257) + b"ustar\x0000", "is a tar archive"),
        ("trace.sqlite", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("page.html", b"<!DOCTYPE html>", "is an HTML page"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        (["rocpd_string", "rocpd_kernel_dispatch"], "rocprofiler"),
        (["CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL"], "nvprof"),
        (["traces", "notes", "kernels"], "stored with --save"),
    ],
)
def test_a_database_of_another_kind_is_named(tmp_path, tables, says):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (a)")
    connection.close()
    assert says in refusal(path)


def test_directory(tmp_path):
    assert "directory" in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    path = one_module().write(tmp_path / "trace.sqlite")
    path.chmod(0)
    assert "permission denied" in refusal(path)


def test_fifo_does_not_hang(tmp_path):
    path = tmp_path / "trace.sqlite"
    os.mkfifo(path)
    assert "not a regular file" in refusal(path)


def test_symlink_is_followed(tmp_path):
    path = tmp_path / "link.sqlite"
    path.symlink_to(LLAMA)
    assert len(read_trace(path)) == 112


def test_name_with_characters_that_mean_something_in_a_uri(tmp_path):
    path = tmp_path / "a b?mode=rw&%41#x.sqlite"
    shutil.copy(LLAMA, path)
    assert len(read_trace(path)) == 112


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_file_cut_short(tmp_path, share):
    path = tmp_path / "trace.sqlite"
    content = LLAMA.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged or cut short" in refusal(path) or "not an SQLite database" in refusal(path)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL", "no CUDA kernels"),
        ("DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL", "no CUDA kernels"),
        ("DROP TABLE CUPTI_ACTIVITY_KIND_RUNTIME", "no CUDA API calls"),
        ("DROP TABLE StringIds", "no strings"),
        ("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME COLUMN demangledName TO title", "no known nsys version"),
    ],
)
def test_export_without_what_a_kernel_table_needs(tmp_path, statement, says):
    assert says in refusal(without(tmp_path, statement))


def test_other_database(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name)")
    connection.close()
    assert "not an nsys export" in refusal(path)


def test_without_ranges_kernels_stand_outside(tmp_path):
    table = read_trace(without(tmp_path, "DROP TABLE NVTX_EVENTS"))
    assert table.coverage.outside_ranges == len(table) == 112


@pytest.mark.parametrize(
    "table",
    ["CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS", "StringIds", "META_DATA_EXPORT"],
)
def test_a_view_in_place_of_a_table_is_refused(tmp_path, table):
    path = without(tmp_path, f"ALTER TABLE {table} RENAME TO hidden", f"CREATE VIEW {table} AS SELECT * FROM hidden")
    assert f"{table} is a view" in refusal(path)


def test_an_endless_view_is_refused_at_once(tmp_path):
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, 'x' AS value FROM n"
    path = without(tmp_path, "DROP TABLE StringIds", f"CREATE VIEW StringIds AS {endless}")
    assert "StringIds is a view" in refusal(path)


def test_a_virtual_table_is_refused(tmp_path):
    path = without(tmp_path, "DROP TABLE StringIds", "CREATE VIRTUAL TABLE StringIds USING fts5(id, value)")
    assert "StringIds is a virtual table" in refusal(path)


def test_work_without_end_in_sqlite_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tracediff.trace.open_export._SECONDS", 0.2)
    slow = "AS (length(hex(zeroblob(9000000 + streamId)))) VIRTUAL"
    path = without(tmp_path, f"ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL ADD COLUMN endless INTEGER {slow}")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(replace(sql, 'gridX', 'old'), 'endless', 'gridX')")
    connection.close()
    monkeypatch.setattr("tracediff.trace.open_export._INSTRUCTIONS_BETWEEN_CHECKS", 100)
    assert "longer than its size explains" in refusal(path)


def test_a_text_made_out_of_nothing_is_refused(tmp_path):
    endless = "AS (replace(hex(zeroblob(40000000)), '0', 'x')) VIRTUAL"
    path = without(
        tmp_path,
        "ALTER TABLE StringIds RENAME COLUMN value TO old",
        f"ALTER TABLE StringIds ADD COLUMN value {endless}",
    )
    assert "longer than 64 MB" in refusal(path)


def test_a_virtual_column_does_not_shift_the_others(tmp_path):
    path = without(tmp_path)
    with sqlite3.connect(path) as connection:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'CUPTI_ACTIVITY_KIND_KERNEL'"
        ).fetchone()
        connection.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME TO old")
        connection.execute(sql.replace("(", "(derived INTEGER AS (1) VIRTUAL, ", 1))
        names = [f'"{row[1]}"' for row in connection.execute("PRAGMA table_info(old)")]
        columns = ", ".join(names)
        connection.execute(f"INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL ({columns}) SELECT {columns} FROM old")
    connection.close()
    table, expected = read_trace(path), read_trace(LLAMA)
    assert table.grid.tolist() == expected.grid.tolist()
    assert modules(table) == modules(expected)


@pytest.mark.parametrize(
    "name",
    [
        "\x00",
        "a\x00b",
        "\x1b[2J\x1b]0;title\x07",
        "<script>alert(1)</script>",
        '=cmd|"/C calc"!A0',
        "'; DROP TABLE x; --",
        "\u202egnp.exe",
        "🧨" * 1000,
        "x" * (1 << 20),
        "",
        " ",
    ],
)
def test_names_are_kept_as_they_are(tmp_path, name):
    export = SmallExport().range(name, 0, 100).range(name + "/inner", 1, 99).kernel(name, 1, 20)
    table = read_trace(export.write(tmp_path / "trace.sqlite"))
    assert modules(table) == [(name, name, name + "/inner")]


def test_bytes_that_are_no_text_become_replacement_characters(tmp_path):
    path = one_module().write(tmp_path / "trace.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE StringIds SET value = CAST(x'61ff62' AS TEXT) WHERE value = 'first'")
        connection.execute("UPDATE NVTX_EVENTS SET text = CAST(x'ff' AS TEXT) WHERE text = 'prefill'")
    connection.close()
    assert modules(read_trace(path))[0] == ("a\ufffdb", "\ufffd", "model.layers.0.mlp")


@pytest.mark.parametrize("column", KERNEL_COLUMNS)
@pytest.mark.parametrize("value", [*NUMBERS, None, 1.5, "text", b"blob"])
def test_no_value_of_a_kernel_brings_the_reader_down(tmp_path, column, value):
    export = one_module()
    export.schema = export.schema.replace(" NOT NULL", "")
    export.rows["CUPTI_ACTIVITY_KIND_KERNEL"][1][column] = value
    path = export.write(tmp_path / "trace.sqlite")
    if is_refused(column, value):
        assert any(words in refusal(path) for words in ("holds the number", "127 years", "of another type"))
        return
    table = read_trace(path)
    assert len(table) == 2
    assert (table.duration_ns >= 0).all()
    assert "first" in table.names


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE StringIds SET value = CAST(value AS BLOB)",
        "UPDATE StringIds SET value = CAST(value AS BLOB) WHERE id = (SELECT max(id) FROM StringIds)",
        "UPDATE NVTX_EVENTS SET text = x'00'",
        "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET gridX = gridX + 0.5 WHERE rowid = 7",
        "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET demangledName = 'a name'",
    ],
)
def test_values_of_another_type_are_refused_not_read_as_missing(tmp_path, statement):
    assert "holds a value of another type" in refusal(without(tmp_path, statement))


def test_a_column_of_another_type_is_refused_not_read_as_zeros(tmp_path):
    path = without(
        tmp_path,
        "CREATE TABLE other (" + ", ".join(f'"{name}" REAL' for name in KERNEL_COLUMNS) + ")",
        "INSERT INTO other SELECT " + ", ".join(f'"{name}"' for name in KERNEL_COLUMNS)
        + " FROM CUPTI_ACTIVITY_KIND_KERNEL",
        "DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL",
        "ALTER TABLE other RENAME TO CUPTI_ACTIVITY_KIND_KERNEL",
    )  # fmt: skip
    assert "CUPTI_ACTIVITY_KIND_KERNEL holds a value of another type" in refusal(path)


@pytest.mark.parametrize("table", ["NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME"])
@pytest.mark.parametrize("column", ["start", "end", "globalTid", "textId", "domainId", "correlationId", "eventType"])
@pytest.mark.parametrize("value", [*NUMBERS, None, 1.5, "text", b"blob"])
def test_no_value_of_a_range_or_call_brings_the_reader_down(tmp_path, table, column, value):
    export = one_module()
    export.schema = export.schema.replace(" NOT NULL", "")
    for row in export.rows[table]:
        if column in row or (table == "NVTX_EVENTS" and column == "textId"):
            row[column] = value
    path = export.write(tmp_path / "trace.sqlite")
    if any(column in row for row in export.rows[table]) and is_read(table, column) and is_refused(column, value):
        assert any(words in refusal(path) for words in ("holds the number", "127 years", "of another type"))
        return
    assert len(read_trace(path)) == 2


def test_kernel_that_ends_before_it_starts_lasts_no_time_and_is_noted(tmp_path):
    export = SmallExport().kernel("backwards", 1, 20, start=30, end=10)
    table = read_trace(export.write(tmp_path / "trace.sqlite"))
    assert table.duration_ns.tolist() == [0]
    assert any("end before their start" in note for note in table.notes)


@pytest.mark.parametrize("column", ["gridX", "blockZ", "registersPerThread", "streamId", "dynamicSharedMemory"])
@pytest.mark.parametrize(("value", "reads"), [(2**40, 2**31 - 1), (-(2**40), -(2**31)), (2**31 - 1, 2**31 - 1)])
def test_a_number_beyond_32_bits_is_cut_and_noted(tmp_path, column, value, reads):
    table = read_trace(SmallExport().kernel("k", 1, 20, **{column: value}).write(tmp_path / "trace.sqlite"))
    columns = {"gridX": table.grid, "blockZ": table.block, "registersPerThread": table.registers}
    columns |= {"streamId": table.stream, "dynamicSharedMemory": table.shared_memory_bytes}
    found = columns[column]
    assert reads in found
    assert any("beyond 32 bits, cut to them: 1" in note for note in table.notes) == (value != reads)


def test_kernels_that_last_longer_together_than_64_bits_hold_are_refused(tmp_path):
    export = SmallExport()
    for number in range(3):
        export.kernel("k", number, 20, start=0, end=3 * 10**18)
    assert "longer than 127 years" in refusal(export.write(tmp_path / "trace.sqlite"))


def test_id_without_a_string_is_shown_as_missing(tmp_path):
    path = one_module().write(tmp_path / "trace.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM StringIds WHERE value = 'first'")
    connection.close()
    assert modules(read_trace(path))[0][0] == "<string 2 missing>"


def test_of_calls_with_one_correlation_id_the_first_counts(tmp_path):
    export = one_module().call(1, 500)
    table = read_trace(export.write(tmp_path / "trace.sqlite"))
    assert table.launch_ns.tolist() == [20, 30]


def test_correlation_ids_repeat_between_processes(tmp_path):
    other = PROCESS + 0x1000000
    export = one_module().range("decode[0]", 15, 80, thread=other + 42).kernel("theirs", 1, 20, process=other)
    table = read_trace(export.write(tmp_path / "trace.sqlite"))
    assert modules(table) == [
        ("first", "prefill", "model.layers.0.mlp"),
        ("theirs", "decode[0]", ""),
        ("second", "prefill", "model.layers.0.mlp"),
    ]
    assert table.process.tolist() == [0, 1, 0]


def test_ten_thousand_nested_ranges(tmp_path):
    depth = 10_000
    export = SmallExport()
    for level in range(depth):
        export.range(f"level {level}", level, 1_000_000 - level, thread=THREAD)
    export.kernel("deep", 1, 500_000).kernel("shallow", 2, 999_999)
    export.kernel("middle", 3, 1_000_000 - 5000)
    table = read_trace(export.write(tmp_path / "trace.sqlite"))
    assert modules(table) == [
        ("deep", "level 0", "level 9999"),
        ("middle", "level 0", "level 4999"),
        ("shallow", "level 0", ""),
    ]


def test_reading_leaves_the_file_and_its_directory_alone(tmp_path):
    path = tmp_path / "trace.sqlite"
    shutil.copy(LLAMA, path)
    path.chmod(0o444)
    before = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns
    read_trace(path)
    assert (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.sqlite"]


def killed_while_writing(tmp_path, journal_mode):
    """Leave an export as a killed writer does: with a journal, or a write-ahead log, beside it."""
    path = tmp_path / "trace.sqlite"
    shutil.copy(LLAMA, path)
    commit = "connection.execute('COMMIT')" if journal_mode == "WAL" else ""
    code = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        f"connection.execute('PRAGMA journal_mode = {journal_mode}')\n"
        "connection.execute('PRAGMA cache_size = 1')\n"
        "connection.execute('BEGIN')\n"
        "connection.execute('DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE rowid % 2')\n"
        f"{commit}\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    return path


@pytest.mark.parametrize(("journal_mode", "says"), [("DELETE", "middle of a write"), ("WAL", "is in trace.sqlite-wal")])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_an_unfinished_write_is_refused_and_left_alone(tmp_path, journal_mode, says, through_a_link):
    path = killed_while_writing(tmp_path, journal_mode)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert len(before) > 1
    if through_a_link:
        path = tmp_path / "elsewhere" / "link.sqlite"
        path.parent.mkdir()
        path.symlink_to(tmp_path / "trace.sqlite")
    assert says in refusal(path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()} == before


def test_a_journal_that_is_no_file_is_refused(tmp_path):
    path = without(tmp_path)
    os.mkfifo(path.with_name(f"{path.name}-journal"))
    assert "in the middle of a write" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 512])
def test_a_journal_that_sqlite_has_done_with_is_none(tmp_path, content):
    path = without(tmp_path)
    path.with_name("trace.sqlite-journal").write_bytes(content)
    assert len(read_trace(path)) == 112


def test_a_database_left_in_wal_mode_is_read_without_touching_it(tmp_path):
    path = without(tmp_path, "PRAGMA journal_mode=WAL")
    assert len(read_trace(path)) == 112
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.sqlite"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"CREATE TABLE StringIds (", b"CREATE TABLE \xccStringIds "),
        (b"CREATE TABLE StringIds (", b"CREATE \xccABLE StringIds ("),
        (b"CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL", b"CREATE TABLE CUPTI_ACTIVITY_KIND_\xff\xfeRNEL"),
        (b"demangledName ", b"demangled\xcc\xcc\xcc\xcc "),
    ],
)
def test_schema_that_is_no_text(tmp_path, old, new):
    # SQLite quotes the schema in its message, and sqlite3 cannot decode that.
    content = LLAMA.read_bytes()
    assert old in content
    path = tmp_path / "trace.sqlite"
    path.write_bytes(content.replace(old, new))
    refusal(path)


def test_a_damaged_schema_is_not_quoted_whole(tmp_path):
    path = without(tmp_path)
    content = path.read_bytes()
    place = content.index(b"CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL")
    path.write_bytes(content[:place] + b"CREATE ELBAT" + content[place + 12 :])
    assert len(refusal(path)) < 600


@pytest.mark.parametrize(
    ("table", "words"), [("StringIds", "no strings"), ("CUPTI_ACTIVITY_KIND_RUNTIME", "no CUDA API calls")]
)
def test_an_empty_table_is_as_bad_as_a_missing_one(tmp_path, table, words):
    assert words in refusal(without(tmp_path, f"DELETE FROM {table}"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is not JSON"),
        ("[]", "Expected `object`, got `array`"),
        ('{"traces": 3}', "Expected `array`, got `int` - at `$.traces`"),
        (
            '{"traces": [{"file": "trace.sqlite", "batch": "1"}]}',
            "got `str` - at `$.traces[0].batch`",
        ),
        ('{"traces": [{"file": "trace.sqlite", "batch": -1}]}', ">= 0 - at `$.traces[0].batch`"),
        ('{"tokens": 99999999999999999999, "traces": []}', "at `$.tokens`"),
        ('{"tokens": 2147483648, "traces": []}', "at `$.tokens`"),
        ('{"tokens": 2147483647, "traces": []}', "does not describe"),
        ('{"versions": {"cuda": 13}, "traces": []}', "at `$.versions"),
        ('{"gpu": "\\ud800", "traces": []}', "it is not JSON"),
        ("[" * 100_000, "Expected `object`, got `array`"),
        ('{"x": ' + "[" * 100_000, "it is nested too deeply"),
        ('{"traces": []}', "does not describe"),
        ('{"traces": [{"file": "other.sqlite"}]}', "does not describe"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_said(tmp_path, text, words):
    (tmp_path / "manifest.json").write_text(text)
    table = read_trace(without(tmp_path))
    assert any(words in note for note in table.notes)
    assert table.info.batch is None
