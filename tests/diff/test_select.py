"""Which iteration of a repeated phase is compared."""

from dataclasses import replace

import numpy as np
import pytest

from tests.diff.tables import table
from tracediff.diff.select import select
from tracediff.errors import TracediffError


def names(chosen, of):
    return [of.names[code] for code in of.name[chosen.kernels]]


def test_a_phase_that_ran_once_is_taken_whole():
    once = table([("prefill", "q", "gemm"), ("prefill", "q", "reduce")])
    chosen = select(once)
    assert names(chosen, once) == ["gemm", "reduce"]
    assert chosen.notes == ()


def test_the_last_of_the_usual_iterations_is_compared_and_warm_up_is_left_out():
    warm_up, usual = [("step", "q", "slow gemm")], [("step", "q", "gemm"), ("step", "q", "add")]
    repeated = table([*warm_up, *usual, *usual, *usual], iteration=[0, 1, 1, 2, 2, 3, 3])
    chosen = select(repeated)
    assert names(chosen, repeated) == ["gemm", "add"]
    assert chosen.kernels.tolist() == [5, 6]
    assert chosen.notes == ("step ran 4 times; compared: iteration 3; 1 ran other kernels and were left out",)


def test_two_iterations_with_the_same_kernels_in_another_order_are_not_the_same():
    usual, swapped = [("step", "q", "x"), ("step", "q", "y")], [("step", "q", "y"), ("step", "q", "x")]
    repeated = table([*usual, *usual, *swapped], iteration=[0, 0, 1, 1, 2, 2])
    assert select(repeated).kernels.tolist() == [2, 3]


def test_another_grid_is_another_iteration():
    repeated = table([("step", "q", "x")] * 3, iteration=[0, 1, 2])
    grid = repeated.grid.copy()
    grid[2] = (7, 1, 1)
    assert select(replace(repeated, grid=grid)).kernels.tolist() == [1]


def test_kernels_outside_every_range_are_all_taken():
    loose = table([(None, "", "x"), (None, "", "y"), ("prefill", "q", "z")], iteration=[-1, -1, 0])
    assert np.array_equal(select(loose).kernels, [0, 1, 2])


def test_only_the_phases_asked_for():
    both = table([("prefill", "q", "x"), ("decode[0]", "q", "y")])
    assert names(select(both, ["decode[0]"]), both) == ["y"]


def test_an_unknown_phase_is_trouble_that_names_the_known_ones():
    with pytest.raises(TracediffError, match=r"no phase 'warm': it has prefill"):
        select(table([("prefill", "q", "x")]), ["warm"])
