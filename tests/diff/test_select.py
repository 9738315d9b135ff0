"""Which iterations of a repeated phase are compared."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.diff.tables import table
from tracediff.diff import diff_tables
from tracediff.diff.launches import differs
from tracediff.diff.select import select
from tracediff.errors import TracediffError

STEPS = {"long": [("step", "q", "x"), ("step", "q", "y")], "short": [("step", "q", "z")]}


def repeated(*kinds):
    kernels = [kernel for kind in kinds for kernel in STEPS[kind]]
    numbers = [number for number, kind in enumerate(kinds) for _ in STEPS[kind]]
    return table(kernels, iteration=numbers)


def compared(selection, of):
    return [(part.phase, [of.names[code] for code in of.name[part.kernels]]) for part in selection.parts]


def test_a_phase_that_ran_once_is_taken_whole():
    once = table([("prefill", "q", "gemm"), ("prefill", "q", "reduce")])
    (chosen,) = select([once])
    assert compared(chosen, once) == [("prefill", ["gemm", "reduce"])]
    assert chosen.notes == ()


def test_of_equal_iterations_the_last_is_taken():
    same = repeated("short", "short", "short")
    (chosen,) = select([same])
    assert [part.kernels.tolist() for part in chosen.parts] == [[2]]
    assert chosen.notes == ("step ran 3 times; compared: iteration 2",)


def test_each_kind_of_iteration_is_a_phase_of_its_own_where_both_traces_go_through_them_alike():
    steps = repeated("long", "short", "short")
    for chosen in select([steps, steps]):
        assert compared(chosen, steps) == [("step[0]", ["x", "y"]), ("step[2]", ["z"])]
        assert "2 kernel sequences; compared: iterations 0, 2" in chosen.notes[0]


def test_warm_up_of_one_trace_is_left_out_and_said():
    warm, steady = repeated("long", "short", "short"), repeated("short", "short")
    first, second = select([warm, steady])
    assert compared(first, warm) == compared(second, steady) == [("step", ["z"])]
    assert first.notes == ("step ran 3 times; compared: iteration 2; 1 ran other kernels and were left out",)


def test_two_iterations_with_the_same_kernels_in_another_order_are_not_the_same():
    usual, swapped = [("step", "q", "x"), ("step", "q", "y")], [("step", "q", "y"), ("step", "q", "x")]
    both = table([*usual, *usual, *swapped], iteration=[0, 0, 1, 1, 2, 2])
    (chosen,) = select([both])
    assert [part.kernels.tolist() for part in chosen.parts] == [[2, 3], [4, 5]]


def test_a_grid_that_grows_with_the_cache_is_no_other_kind():
    growing = table([("step", "q", "x")] * 3, iteration=[0, 1, 2])
    grid = growing.grid.copy()
    grid[:, 0] = [1, 2, 3]
    (chosen,) = select([replace(growing, grid=grid)])
    assert [part.kernels.tolist() for part in chosen.parts] == [[2]]


def test_a_phase_that_never_settles_gives_its_last_iteration_on_both_sides():
    wild = table([("step", "q", f"kernel {number}") for number in range(30)], iteration=list(range(30)))
    assert [compared(chosen, wild) for chosen in select([wild, wild])] == [[("step", ["kernel 29"])]] * 2


def test_kernels_outside_every_range_are_all_taken():
    loose = table([(None, "", "x"), (None, "", "y"), ("prefill", "q", "z")], iteration=[-1, -1, 0])
    (chosen,) = select([loose])
    assert compared(chosen, loose) == [(None, ["x", "y"]), ("prefill", ["z"])]


def test_only_the_phases_asked_for():
    both = table([("prefill", "q", "x"), ("decode[0]", "q", "y")])
    (chosen,) = select([both], ["decode[0]"])
    assert compared(chosen, both) == [("decode[0]", ["y"])]


def test_an_unknown_phase_is_trouble_that_names_the_known_ones():
    with pytest.raises(TracediffError, match=r"no phase 'warm': there is prefill"):
        select([table([("prefill", "q", "x")])], ["warm"])


@given(st.lists(st.sampled_from(["long", "short"]), min_size=1, max_size=6))
def test_a_trace_against_itself_compares_every_kind_and_finds_no_difference(kinds):
    steps = repeated(*kinds)
    diff = diff_tables(steps, steps)
    assert not differs(diff)
    assert len({row.phase for row in diff.rows}) == len(set(kinds))
