"""A kernel table that `show --save` stored is read again as a baseline."""

import sqlite3
from contextlib import closing

import pytest

from tests.diff.tables import table
from tests.profiles import FLOAT16
from tests.report.test_json_report import A, B
from tracediff.diff import diff_tables
from tracediff.diff.show import show_table
from tracediff.errors import TracediffError
from tracediff.report.diff.sqlite import save_diffs, save_show
from tracediff.trace import Coverage, read_trace


def test_a_saved_trace_is_a_baseline_that_diff_reads_again(tmp_path):
    trace, other = (read_trace(FLOAT16 / f"b{batch}.sqlite") for batch in (1, 2))
    path = tmp_path / "baseline.sqlite"
    save_show(*show_table(trace), path)
    again = read_trace(path)
    assert diff_tables(trace, again).differs is False
    assert (again.info.gpu, again.info.batch, len(again)) == (trace.info.gpu, 1, len(trace))
    judged = [(row.module, row.verdict, row.split_k) for row in diff_tables(trace, other).rows]
    assert [(row.module, row.verdict, row.split_k) for row in diff_tables(again, other).rows] == judged


def test_a_saved_comparison_is_no_baseline(tmp_path):
    path = tmp_path / "diff.sqlite"
    save_diffs([diff_tables(A, B)], path)
    with pytest.raises(TracediffError, match="holds a comparison"):
        read_trace(path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("UPDATE kernels SET grid = '1x1'", "is damaged: "),
        ("UPDATE kernels SET block = 'axbxc'", "is damaged: "),
        ("UPDATE kernels SET duration_ns = 'soon'", "is damaged: "),
        ("UPDATE kernels SET registers = 99999999999", "is damaged: "),
        ("DROP TABLE algorithms", "damaged"),
        ("DELETE FROM kernels", "baseline.sqlite"),
        ("PRAGMA user_version = 99", "was saved by another tracediff"),
    ],
)
def test_a_damaged_baseline_is_one_line_that_names_the_file(tmp_path, damage, says):
    path = tmp_path / "baseline.sqlite"
    save_show(*show_table(B), path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    with pytest.raises(TracediffError) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)
    assert str(path) in caught.value.message and says in caught.value.message
    assert caught.value.hint


def test_what_a_saved_trace_says_of_itself_is_read_back(tmp_path):
    kernels = [("prefill", "", "under"), ("prefill", "model.layers.0.mlp", "in"), (None, "", "outside")]
    made = table(kernels, grid=(2, 3, 4), batch=2, gpu="H100", sm_count=132, tokens=6, dtype="float16", model="m")
    path = tmp_path / "baseline.sqlite"
    save_show(*show_table(made), path)
    again = read_trace(path)
    places = {again.names[name]: again.keys[key] for name, key in zip(again.name, again.key, strict=True)}
    assert {name: (key.phase, key.layer) for name, key in places.items()} == {
        "outside": (None, None),
        "under": ("prefill", None),
        "in": ("prefill", 0),
    }
    assert again.coverage == Coverage(kernels=3, in_module=1, in_phase_only=1, outside_ranges=1, no_launch=0)
    assert (again.info.batch, again.info.sm_count, again.info.tokens) == (2, 132, 6)
    assert (again.info.gpu, again.info.dtype, again.info.model, again.info.path) == ("H100", "float16", "m", str(path))
    assert again.grid.tolist() == [[2, 3, 4]] * 3 and again.block.tolist() == [[128, 1, 1]] * 3
    assert again.registers.tolist() == [32] * 3 and again.duration_ns.tolist() == [500] * 3
    assert again.algorithm.tolist() == [-1] * 3
    # Times are not saved: the order of the rows stands for them. Nor are iterations and GPUs.
    assert again.launch_ns.tolist() == again.start_ns.tolist() == [0, 1, 2]
    for column in (again.iteration, again.device, again.stream, again.process):
        assert column.tolist() == [0, 0, 0]
    assert again.notes == ("a saved table: one execution of each phase",)
