"""Moments of a program in nsys's time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracediff.capture.record.clock import Clock


@given(
    st.lists(st.tuples(st.integers(0, 200_000_000), st.integers(0, 20_000)), min_size=1, max_size=200),
    st.integers(-(2**50), 2**50),
    st.integers(-100, 100),
    st.lists(st.integers(-(10**9), 10**10), max_size=20),
)
def test_a_moment_is_off_by_no_more_than_its_marks_and_the_clocks_drift(marks, apart, per_million, moments):
    """nsys's clock runs evenly, up to 100 ns per ms faster or slower, and a mark is anywhere between its moments."""

    def nsys(moment):
        return moment + apart + moment * per_million // 1_000_000

    before = np.cumsum([gap for gap, _ in marks])
    after = before + np.array([width for _, width in marks])
    clock = Clock(np.stack([before, after], axis=1), nsys(before + (after - before) // 3))
    inside = np.array([moment for moment in [*before.tolist(), *moments] if before[0] <= moment <= after[-1]])
    # The marks that count may be two seconds apart at the ends; a mark's own error is a part of its width.
    allowed = 20_000 + 2_000_000_000 * abs(per_million) // 1_000_000
    assert (abs(clock(inside) - nsys(inside)) <= allowed).all()


def test_the_tightest_mark_of_a_second_counts_and_between_seconds_the_clocks_drift_evenly():
    second = 10**9
    brackets = np.array([[0, 10], [400, 100_400], [second, second + 10], [2 * second, 2 * second + 4]])
    marked = np.array([5, 90_000, second + 1_005, 2 * second + 2 + 2_000])
    clock = Clock(brackets, marked)
    assert clock(np.array([5, second // 2, 3 * second])).tolist() == [5, second // 2 + 500, 3 * second + 2_000]
