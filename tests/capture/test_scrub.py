"""A clean copy holds what a reader needs and no byte of anything else."""

import contextlib
import sqlite3

import pytest

from tests.capture.exports import SECRETS, write_export
from tracediff.capture.scrub import OwnRangesMissingError, Scrubbed, scrub
from tracediff.errors import TracediffError
from tracediff.trace import read_trace


@pytest.fixture
def export(tmp_path):
    return write_export(tmp_path / "export.sqlite")


@pytest.fixture
def clean(export, tmp_path):
    path = tmp_path / "clean.sqlite"
    scrub(export, path)
    return path


def rows(path, query):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def dump(path):
    tables = [name for (name,) in rows(path, "SELECT name FROM sqlite_master ORDER BY name")]
    return {table: rows(path, f"SELECT * FROM {table}") for table in tables}


@pytest.mark.parametrize("place", SECRETS)
def test_the_bytes_hold_no_secret(export, clean, place):
    secret = SECRETS[place].encode()
    assert secret in export.read_bytes(), "the test must plant it"
    assert secret not in clean.read_bytes()


def test_no_file_but_the_copy_is_left(export, clean):
    assert sorted(export.parent.iterdir()) == sorted([export, clean])


def test_kernels_launches_ranges_and_marks_of_the_recorded_process_stay(export, tmp_path):
    path = tmp_path / "clean.sqlite"
    assert scrub(export, path) == Scrubbed(kernels=2, ranges=3, marks=1)
    assert rows(
        path,
        "SELECT value, correlationId, gridX FROM CUPTI_ACTIVITY_KIND_KERNEL JOIN StringIds ON id = demangledName",
    ) == [("first", 1, 1), ("second", 2, 1)]
    assert rows(path, "SELECT correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME") == [(1,), (2,)]
    texts = rows(
        path, "SELECT COALESCE(text, value) FROM NVTX_EVENTS LEFT JOIN StringIds ON id = textId ORDER BY start"
    )
    assert [text for (text,) in texts] == [
        "tracediff",
        "run",
        "prefill",
        "model",
        "cublasLtHSHMatmul algo=[algoId=66]",
    ]


def test_what_says_where_the_trace_comes_from_stays(clean):
    assert rows(clean, "SELECT name, smCount FROM TARGET_INFO_GPU") == [("NVIDIA H200", 132)]
    assert rows(clean, "SELECT value FROM META_DATA_EXPORT ORDER BY name") == [("2025.3.2.0",), ("3.20.3",)]
    assert rows(clean, "SELECT value FROM META_DATA_CAPTURE") == [("Node",)]


def test_a_clean_copy_is_read_with_its_phases_and_modules(clean):
    table = read_trace(clean)
    assert [(key.phase, key.module) for key in table.keys] == [("prefill", "model")]
    assert (table.coverage.kernels, table.coverage.in_module) == (2, 2)


def test_that_nsys_reported_an_error_stays_without_its_message(clean):
    assert rows(clean, "SELECT * FROM DIAGNOSTIC_EVENT") == [(0, None, 3)]
    assert "errors that nsys reported while it recorded: 1 (table DIAGNOSTIC_EVENT)" in read_trace(clean).notes[-1]


def test_a_clean_copy_of_a_clean_copy_is_the_same(clean, tmp_path):
    again = tmp_path / "again.sqlite"
    scrub(clean, again)
    assert dump(again) == dump(clean)


def test_the_export_is_left_as_it_was(export, tmp_path):
    before = export.read_bytes()
    scrub(export, tmp_path / "clean.sqlite")
    assert export.read_bytes() == before


def test_an_export_without_its_own_ranges_is_refused(tmp_path):
    export = write_export(tmp_path / "export.sqlite", own_ranges=False)
    with pytest.raises(OwnRangesMissingError, match="lacks its own NVTX ranges"):
        scrub(export, tmp_path / "clean.sqlite")


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path):
    (tmp_path / "export.sqlite").write_text("not a database, but long enough to look like one" * 100)
    with pytest.raises(TracediffError, match="cannot read nsys's export"):
        scrub(tmp_path / "export.sqlite", tmp_path / "clean.sqlite")


def test_another_file_is_never_overwritten(export):
    with pytest.raises(TracediffError, match="exists"):
        scrub(export, export)
