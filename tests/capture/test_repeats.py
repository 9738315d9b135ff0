"""Two recordings of one forward are compared kernel by kernel."""

import pytest

from tests.capture.exports import write_export
from tracediff.capture.repeats import first_difference, kernel_sequence
from tracediff.capture.scrub import scrub

GRID = (1, 1, 1, 128, 1, 1, 32, 0, 0)
OTHER_GRID = (2, 1, 1, 128, 1, 1, 32, 0, 0)


def test_the_sequence_is_every_kernel_in_the_order_it_ran(tmp_path):
    scrub(write_export(tmp_path / "export.sqlite"), tmp_path / "clean.sqlite")
    launch = (1, 1, 1, 1, 1, 1, 1, 0, 0)
    assert kernel_sequence(tmp_path / "clean.sqlite") == [("first", launch), ("second", launch)]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([("a", GRID)], [("a", GRID)], None),
        ([], [], None),
        ([("a", GRID), ("b", GRID)], [("a", GRID), ("c", GRID)], "kernel 1: b, then c"),
        ([("a", GRID), ("b", GRID)], [("a", GRID)], "2 kernels, then 1"),
        ([("a", GRID), ("b", GRID)], [("b", GRID), ("a", GRID)], "kernel 0: a, then b"),
    ],
)
def test_the_first_difference_is_named(first, second, words):
    assert first_difference(first, second) == words


def test_another_grid_is_a_difference():
    assert "gridX 1" in (told := first_difference([("a", GRID)], [("a", OTHER_GRID)]))
    assert "gridX 2" in told


def test_a_name_cannot_write_to_the_terminal():
    assert "\x1b" not in first_difference([("\x1b[31m", GRID)], [("b", GRID)])
