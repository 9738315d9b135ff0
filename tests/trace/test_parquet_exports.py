"""nsys's Parquet export reads like its SQLite export."""

import sqlite3
import sys

import numpy as np
import pytest
from small_exports import DATA

from tracediff.errors import TracediffError
from tracediff.trace import read_trace

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

UNSIGNED = {"globalTid", "globalPid", "endGlobalTid", "domainId", "rangeId", "correlationId", "graphNodeId"}


def as_parquet(source, folder):
    """Write the tables of an SQLite export as nsys writes its parquetdir."""
    folder.mkdir()
    with sqlite3.connect(source) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            columns = list(zip(*cursor.fetchall(), strict=True)) or [[] for _ in names]
            arrays = [
                pyarrow.array(column, type=pyarrow.uint64() if name in UNSIGNED else None)
                for name, column in zip(names, columns, strict=True)
            ]
            parquet.write_table(pyarrow.table(arrays, names), folder / f"{table}.parquet")
    return folder


@pytest.mark.parametrize("source", sorted(DATA.glob("*.sqlite")), ids=lambda path: path.stem)
def test_both_exports_give_the_same_table(tmp_path, source):
    expected, found = read_trace(source), read_trace(as_parquet(source, tmp_path / "run.parquetdir"))
    assert (found.names, found.keys, found.algorithms) == (expected.names, expected.keys, expected.algorithms)
    assert (found.coverage, found.notes) == (expected.coverage, expected.notes)
    for column in ("name", "key", "algorithm", "iteration", "launch_ns", "start_ns", "duration_ns", "grid", "block",
                   "registers", "shared_memory_bytes", "device", "stream", "process"):  # fmt: skip
        np.testing.assert_array_equal(getattr(found, column), getattr(expected, column))
    assert found.info.gpu == expected.info.gpu


def test_folder_without_kernels(tmp_path):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    (folder / "CUPTI_ACTIVITY_KIND_KERNEL.parquet").unlink()
    with pytest.raises(TracediffError, match="no CUDA kernels"):
        read_trace(folder)


@pytest.mark.parametrize("table", ["CUPTI_ACTIVITY_KIND_KERNEL", "StringIds", "NVTX_EVENTS"])
@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: data[:50] + b"x" * 90])
def test_damaged_file(tmp_path, table, damage):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    file = folder / f"{table}.parquet"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TracediffError, match="damaged") as caught:
        read_trace(folder)
    assert "\n" not in str(caught.value)


def test_without_pyarrow_the_way_out_is_named(tmp_path, monkeypatch):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TracediffError, match=r"needs pyarrow.*fleet"):
        read_trace(folder)


def test_texts_that_are_no_text_become_replacement_characters(tmp_path):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    file = folder / "StringIds.parquet"
    strings = parquet.read_table(file)
    values = [each.encode() + b"\xff" for each in strings.column("value").to_pylist()]
    wrong = pyarrow.array(values, type=pyarrow.binary()).cast(pyarrow.string(), safe=False)
    parquet.write_table(pyarrow.table([strings.column("id"), wrong], ["id", "value"]), file)
    assert all(name.endswith("\ufffd") for name in read_trace(folder).names)


def test_the_number_that_means_null_here_is_refused(tmp_path):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    file = folder / "CUPTI_ACTIVITY_KIND_RUNTIME.parquet"
    calls = parquet.read_table(file)
    place = calls.column_names.index("correlationId")
    ids = pyarrow.array([2**63, *calls.column("correlationId").to_pylist()[1:]], type=pyarrow.uint64())
    parquet.write_table(calls.set_column(place, "correlationId", ids), file)
    with pytest.raises(TracediffError, match="holds the number -9223372036854775808"):
        read_trace(folder)


def test_codes_of_texts_beyond_their_dictionary_are_damage():
    from tracediff.trace.nsys_parquet import _texts

    codes = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 2, None]), pyarrow.array(["a", "b"]), safe=False)
    with pytest.raises(pyarrow.ArrowInvalid):
        _texts(codes)
    sound = pyarrow.DictionaryArray.from_arrays(pyarrow.array([1, None, 0]), pyarrow.array(["a", "b"]))
    assert _texts(sound).take(np.arange(3)) == [b"b", None, b"a"]


def with_column(folder, table, column, values):
    file = folder / f"{table}.parquet"
    whole = parquet.read_table(file)
    parquet.write_table(whole.set_column(whole.column_names.index(column), column, values(len(whole))), file)
    return folder


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("CUPTI_ACTIVITY_KIND_KERNEL", "gridX", lambda count: pyarrow.array([1.5] * count)),
        ("CUPTI_ACTIVITY_KIND_KERNEL", "start", lambda count: pyarrow.array(["text"] * count)),
        ("StringIds", "value", lambda count: pyarrow.array([b"x"] * count)),
        ("StringIds", "value", lambda count: pyarrow.array([3] * count)),
        ("StringIds", "value", lambda count: pyarrow.array([["x"]] * count)),
        ("NVTX_EVENTS", "text", lambda count: pyarrow.array([{"a": "x"}] * count)),
        ("StringIds", "id", lambda count: pyarrow.array([[1]] * count)),
    ],
)
def test_values_of_another_type_are_refused_not_read_as_missing(tmp_path, table, column, values):
    folder = with_column(as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run"), table, column, values)
    with pytest.raises(TracediffError, match=f"{table} holds a value of another type"):
        read_trace(folder)


def test_a_column_of_nulls_has_no_values(tmp_path):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    table = read_trace(with_column(folder, "CUPTI_ACTIVITY_KIND_KERNEL", "graphNodeId", pyarrow.nulls))
    assert len(table) == 112


def test_two_columns_of_one_name_are_refused(tmp_path):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    file = folder / "StringIds.parquet"
    whole = parquet.read_table(file)
    parquet.write_table(whole.append_column("value", whole.column("value")), file)
    with pytest.raises(TracediffError, match="two columns of one name"):
        read_trace(folder)


def test_rows_that_a_file_of_its_size_cannot_hold_are_refused(tmp_path):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    file = folder / "CUPTI_ACTIVITY_KIND_RUNTIME.parquet"
    count = 30_000_000
    names = ["start", "correlationId", "globalTid"]
    with parquet.ParquetWriter(file, pyarrow.schema([(name, pyarrow.int64()) for name in names])) as writer:
        part = pyarrow.table({name: pyarrow.array(np.full(count // 3, 5)) for name in names})
        for _ in range(3):
            writer.write_table(part)
    with pytest.raises(TracediffError, match="more rows than a file of its size holds"):
        read_trace(folder)


def test_a_column_of_texts_that_holds_none_is_read_as_missing(tmp_path):
    folder = as_parquet(DATA / "llama-two-blocks-b1.sqlite", tmp_path / "run")
    expected = read_trace(folder)
    events, strings = (parquet.read_table(folder / f"{name}.parquet") for name in ("NVTX_EVENTS", "StringIds"))
    texts = events.column("text").to_pylist()
    distinct = [text for text in dict.fromkeys(texts) if text is not None]
    first = max(strings.column("id").to_pylist()) + 1
    known = events.column("textId").to_pylist() if "textId" in events.column_names else [None] * len(texts)
    ids = [old if text is None else first + distinct.index(text) for old, text in zip(known, texts, strict=True)]
    for name, column in (("text", pyarrow.nulls(len(texts))), ("textId", pyarrow.array(ids))):
        if name in events.column_names:
            events = events.drop_columns([name])
        events = events.append_column(name, column)
    more = pyarrow.table([[*range(first, first + len(distinct))], distinct], strings.column_names)
    parquet.write_table(events, folder / "NVTX_EVENTS.parquet")
    parquet.write_table(pyarrow.concat_tables([strings, more.cast(strings.schema)]), folder / "StringIds.parquet")
    found = read_trace(folder)
    assert found.keys == expected.keys
    np.testing.assert_array_equal(found.key, expected.key)
