"""One trace as rows: the kernels of each module on side `a`, nothing compared."""

import pytest

from tests.diff.tables import table
from tracediff.diff.show import show_table
from tracediff.errors import TracediffError

KERNELS = [
    ("prefill", "model.layers.0.mlp", "k"),
    ("prefill", "model.layers.0.mlp", "l"),
    ("decode[0]", "lm_head", "k"),
]


def test_each_module_has_its_kernels_and_nothing_is_compared():
    side, rows = show_table(table(KERNELS))
    assert [(row.phase, row.layer, row.module, [kernel.parsed.name for kernel in row.a]) for row in rows] == [
        ("prefill", 0, "model.layers.0.mlp", ["k", "l"]),
        ("decode[0]", None, "lm_head", ["k"]),
    ]
    assert {(row.b, row.pairs, row.reason) for row in rows} == {((), (), "")}
    assert {str(row.verdict) for row in rows} == {"unknown"}
    assert (side.kernels, side.duration_ns) == (3, 1500)


def test_modules_stand_in_the_order_in_which_this_execution_launched_them():
    """The second execution of a step begins with a module that the first one ends with, and has one more."""
    kernels = [("step", "q", "x"), ("step", "end", "y"), ("step", "end", "y"), ("step", "new", "z"), ("step", "q", "x")]
    _, rows = show_table(table(kernels, iteration=[0, 0, 1, 1, 1]))
    assert [(row.phase, row.module) for row in rows] == [
        ("step[0]", "q"), ("step[0]", "end"), ("step[1]", "end"), ("step[1]", "new"), ("step[1]", "q")
    ]  # fmt: skip


def test_a_phase_can_be_chosen_and_must_be_there():
    side, rows = show_table(table(KERNELS), ["decode[0]"])
    assert [row.module for row in rows] == ["lm_head"]
    assert side.kernels == 1
    with pytest.raises(TracediffError, match="nowhere"):
        show_table(table(KERNELS), ["nowhere"])
