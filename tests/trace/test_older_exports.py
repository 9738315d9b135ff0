"""Exports of older nsys versions lack columns and name tables otherwise."""

import shutil
import sqlite3

import pytest
from small_exports import DATA, modules

from tracediff.trace import read_trace

LLAMA = DATA / "llama-two-blocks-b1.sqlite"
KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"


def changed(tmp_path, *statements):
    path = shutil.copy(LLAMA, tmp_path / "t.sqlite")
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def test_the_table_of_the_exports_own_metadata_had_another_name(tmp_path):
    table = read_trace(changed(tmp_path, "ALTER TABLE META_DATA_EXPORT RENAME TO EXPORT_META_DATA"))
    assert table.info.profiler_version == "2025.3.2.0"


@pytest.mark.parametrize(
    "column", ["graphNodeId", "greenContextId", "mangledName", "launchType", "sharedMemoryExecuted", "globalPid"]
)
def test_columns_that_came_later_are_not_missed(tmp_path, column):
    table = read_trace(changed(tmp_path, f"ALTER TABLE {KERNELS} DROP COLUMN {column}"))
    assert modules(table) == modules(read_trace(LLAMA))


def test_columns_that_are_missing_are_named(tmp_path):
    table = read_trace(changed(tmp_path, f"ALTER TABLE {KERNELS} DROP COLUMN registersPerThread"))
    assert (table.registers == 0).all()
    assert any("registersPerThread" in note for note in table.notes)


@pytest.mark.parametrize("column", ["domainId", "rangeId", "endGlobalTid", "textId"])
def test_ranges_without_columns_that_came_later(tmp_path, column):
    statements = [f"ALTER TABLE NVTX_EVENTS DROP COLUMN {column}"]
    if column == "textId":
        names = "(SELECT value FROM StringIds WHERE id = textId)"
        statements.insert(0, f"UPDATE NVTX_EVENTS SET text = coalesce(text, {names})")
    assert modules(read_trace(changed(tmp_path, *statements))) == modules(read_trace(LLAMA))


@pytest.mark.parametrize(("severities", "errors"), [("", 0), ("(1), (2), (4)", 0), ("(2), (3), (3)", 2)])
def test_errors_of_the_recording_are_said_warnings_are_not(tmp_path, severities, errors):
    made = ["DROP TABLE IF EXISTS DIAGNOSTIC_EVENT", "CREATE TABLE DIAGNOSTIC_EVENT (severity INTEGER)"]
    rows = [f"INSERT INTO DIAGNOSTIC_EVENT VALUES {severities}"] if severities else []
    said = [note for note in read_trace(changed(tmp_path, *made, *rows)).notes if "nsys reported" in note]
    assert [note.split(": ")[1][0] for note in said] == ([str(errors)] if errors else [])


def test_a_gpu_without_a_number_of_multiprocessors(tmp_path):
    info = read_trace(changed(tmp_path, "ALTER TABLE TARGET_INFO_GPU DROP COLUMN smCount")).info
    assert (info.gpu, info.sm_count) == ("NVIDIA H200", None)
    assert read_trace(changed(tmp_path, "DROP TABLE TARGET_INFO_GPU")).info.gpu is None
