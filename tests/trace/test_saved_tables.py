"""A table that `show --save` stored, changed by hand: read as it was saved, or refused in one line."""

import sqlite3
from contextlib import closing

import pytest
from small_exports import DATA, modules

from tracediff.diff.show import show_table
from tracediff.errors import TracediffError
from tracediff.report.diff.sqlite import save_show
from tracediff.trace import read_trace

LLAMA = DATA / "llama-two-blocks-b1.sqlite"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "saved.sqlite"
    save_show(*show_table(read_trace(LLAMA)), path)
    return path


def changed(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def kernels(table):
    """Return what is known of each kernel."""
    logs = [table.algorithms[code] if code >= 0 else "" for code in table.algorithm.tolist()]
    numbers = zip(table.duration_ns.tolist(), table.grid.tolist(), table.block.tolist(), strict=True)
    return list(zip(modules(table), logs, numbers, strict=True))


def test_it_reads_as_the_trace_does(saved):
    table, trace = read_trace(saved), read_trace(LLAMA)
    assert sorted(kernels(table)) == sorted(kernels(trace))  # module by module


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE kernels SET duration_ns = -1 WHERE id = 3",
        "UPDATE kernels SET duration_ns = NULL",
        "UPDATE kernels SET duration_ns = 1.5",
        "UPDATE kernels SET name = x'00ff'",
        "UPDATE kernels SET module = x'07' WHERE id = 3",
        "UPDATE kernels SET grid = '1x1'",
        "UPDATE kernels SET grid = '-9999999999x1x1'",
        "UPDATE kernels SET layer = 'first'",
        "UPDATE kernels SET registers = 1 << 40",
        "UPDATE traces SET batch = 'many'",
        "UPDATE traces SET gpu = x'00'",
        "DELETE FROM kernels",
        "DROP TABLE algorithms",
        "ALTER TABLE kernels DROP COLUMN block",
    ],
)
def test_what_was_not_saved_so_is_refused(saved, statement):
    with pytest.raises(TracediffError) as caught:
        read_trace(changed(saved, statement))
    assert len(str(caught.value)) < 400


def test_a_view_that_never_ends_is_refused_at_once(saved):
    columns = "phase, layer, module, name, grid, block, registers, shared_memory_bytes, duration_ns, algorithm"
    endless = (
        "CREATE VIEW kernels AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
        f"SELECT n.id, {columns} FROM n, (SELECT * FROM old LIMIT 1)"
    )
    changed(saved, "ALTER TABLE kernels RENAME TO old", endless)
    with pytest.raises(TracediffError, match="is a view"):
        read_trace(saved)


def test_a_column_that_is_made_out_of_nothing_is_refused(saved):
    changed(
        saved,
        "ALTER TABLE kernels DROP COLUMN name",
        "ALTER TABLE kernels ADD COLUMN name TEXT AS (printf('%.*c', 50000000, 'x')) VIRTUAL",
    )
    with pytest.raises(TracediffError, match="kernels is not as it was saved"):
        read_trace(saved)


def test_a_log_line_that_stands_twice_multiplies_no_kernels(saved):
    changed(
        saved,
        "DROP TABLE algorithms",
        "CREATE TABLE algorithms (id INTEGER, text TEXT)",
        "INSERT INTO algorithms WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT 1, 'x' FROM n",
        "UPDATE kernels SET algorithm = 1",
    )
    assert len(read_trace(saved)) == 112


@pytest.mark.parametrize("table", ["kernels", "traces", "algorithms"])
def test_a_damaged_page_is_one_line(saved, table):
    with closing(sqlite3.connect(saved)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(saved.read_bytes())
    content[(root - 1) * size : root * size] = b"\xff" * size
    saved.write_bytes(content)
    with pytest.raises(TracediffError, match=r"is damaged or cut short \(.*\): save the trace again") as caught:
        read_trace(saved)
    assert "\n" not in str(caught.value)
