"""Kernel tables and diffs as SQLite tables that anyone can query."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.diff.tables import table
from tests.report.test_json_report import A, B
from tracediff.diff import diff_tables
from tracediff.diff.show import show_table
from tracediff.errors import TracediffError
from tracediff.report.diff.sqlite import save_diffs, save_show


def rows(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_diff_can_be_queried(tmp_path):
    path = tmp_path / "diff.sqlite"
    save_diffs([diff_tables(A, B)], path)
    assert rows(path, "SELECT label, batch FROM traces ORDER BY label") == [("a", 1), ("b", 2)]
    assert rows(path, "SELECT trace, count(*) FROM kernels GROUP BY trace") == [("a", 3), ("b", 2)]
    joined = """SELECT ka.tile, kb.tile FROM pairs
        JOIN modules ON modules.id = pairs.module_id AND modules.module LIKE '%q_proj'
        JOIN kernels ka ON ka.id = kernel_a JOIN kernels kb ON kb.id = kernel_b"""
    assert rows(path, joined) == [("64x8x64", "64x16x64")]
    assert rows(path, "SELECT splitk_reduce_a, splitk_reduce_b FROM modules WHERE layer = 5") == [(0, 1)]
    assert rows(path, "PRAGMA foreign_key_check") == []


def test_a_trace_whose_name_is_no_utf8_is_stored(tmp_path):
    path = tmp_path / "show.sqlite"
    save_show(*show_table(table([("prefill", "q", "k")], path="bad\udcff.sqlite")), path)
    assert rows(path, "SELECT path FROM traces") == [("bad\ufffd.sqlite",)]


def test_a_pair_refers_to_kernels_of_its_own_module_on_its_own_side(tmp_path):
    path = tmp_path / "diff.sqlite"
    save_diffs([diff_tables(A, B)], path)
    for side in ("a", "b"):
        strays = f"""SELECT count(*) FROM pairs JOIN modules ON modules.id = module_id
            JOIN kernels ON kernels.id = kernel_{side}
            WHERE kernels.trace != '{side}' OR kernels.module != modules.module OR kernels.phase != modules.phase"""
        assert rows(path, strays) == [(0,)]
        paired = rows(path, f"SELECT kernel_{side} FROM pairs WHERE kernel_{side} IS NOT NULL ORDER BY 1")
        assert paired == rows(path, f"SELECT id FROM kernels WHERE trace = '{side}' ORDER BY id")


def test_a_single_trace_can_be_queried(tmp_path):
    path = tmp_path / "show.sqlite"
    save_show(*show_table(B), path)
    assert rows(path, "SELECT role FROM kernels ORDER BY position") == [("gemm",), ("splitk_reduce",)]


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    path = tmp_path / "mine.sqlite"
    path.write_bytes(b"precious")
    with pytest.raises(TracediffError, match="exists: add --force"):
        save_diffs([diff_tables(A, B)], path)
    assert path.read_bytes() == b"precious"
    save_diffs([diff_tables(A, B)], path, force=True)
    assert path.read_bytes().startswith(b"SQLite format 3")
    assert list(tmp_path.iterdir()) == [path]


def test_columns_have_the_types_they_say_though_a_value_is_unknown(tmp_path):
    path = tmp_path / "diff.sqlite"
    save_diffs([diff_tables(A, B)], path)
    types = {name: kind for _, name, kind, *_ in rows(path, "PRAGMA table_info(traces)")}
    assert (types["batch"], types["tokens"], types["gpu"]) == ("INTEGER", "INTEGER", "TEXT")
    assert rows(path, "SELECT tokens, typeof(batch) FROM traces") == [(None, "integer")] * 2


def test_what_the_reports_warn_of_is_stored(tmp_path):
    path = tmp_path / "diff.sqlite"
    a, b = (table([("p", "m", "k")], dtype=dtype) for dtype in ("float16", "bfloat16"))
    save_diffs([diff_tables(a, b)], path)
    assert any("float16 and bfloat16" in warning for (warning,) in rows(path, "SELECT warning FROM warnings"))


def test_every_table_and_column_is_documented(tmp_path):
    path = tmp_path / "diff.sqlite"
    save_diffs([diff_tables(A, B)], path)
    documentation = (Path(__file__).parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")
    for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        assert f"`{name}`" in documentation
        for _, column, *_ in rows(path, f"PRAGMA table_info({name})"):
            assert f"`{column}`" in documentation, (name, column)


def test_several_comparisons_are_told_apart(tmp_path):
    path = tmp_path / "many.sqlite"
    save_diffs([diff_tables(A, B), diff_tables(A, A)], path)
    assert rows(path, "SELECT label FROM traces ORDER BY label") == [("a",), ("b",), ("c",)]
    assert rows(path, "SELECT comparison, judgement FROM answers ORDER BY comparison") == [
        (1, "cannot tell"),
        (2, "no difference"),
    ]
    assert rows(path, "SELECT count(*) FROM kernels WHERE trace = 'c'") == [(3,)]
    assert rows(path, "PRAGMA foreign_key_check") == []
