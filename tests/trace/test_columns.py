"""Columns of whole tables: counts and distinct values are what counting one by one gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracediff.trace import columns
from tracediff.trace.columns import Codes, count_codes, distinct_of, first_places


@pytest.mark.parametrize("at_once", [1, 3, 1 << 20])
@given(codes=st.lists(st.integers(0, 6), max_size=12))
def test_every_code_is_counted_however_many_are_counted_at_once(codes, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_DIRECT_CODES", at_once)
        counted = count_codes(np.array(codes, dtype=np.int32), 7)
    assert counted.tolist() == [codes.count(code) for code in range(7)]


@pytest.mark.parametrize("at_once", [1, 3, 1 << 20])
@given(codes=st.lists(st.integers(0, 6), max_size=12))
def test_the_first_place_of_every_code_is_found_however_many_are_looked_at_at_once(codes, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_DIRECT_CODES", at_once)
        places = first_places(np.array(codes, dtype=np.int32), 7)
    assert places.tolist() == [codes.index(code) if code in codes else len(codes) for code in range(7)]


@given(values=st.lists(st.integers(-5, 5), max_size=12))
def test_distinct_values_are_in_order_and_each_once(values):
    assert distinct_of(np.array(values, dtype=np.int64)).tolist() == sorted(set(values))


@given(st.lists(st.lists(st.integers(-2, 2000) | st.integers(1 << 19, 1 << 21), max_size=80), max_size=5))
def test_each_value_has_one_code_however_it_is_looked_up(chunks):
    codes = Codes()
    given_codes = [codes.of(np.array(chunk, dtype=np.int64)).tolist() for chunk in chunks]
    known: dict[int, int] = {}
    for chunk in chunks:
        for value in sorted(set(chunk) - known.keys()):
            known[value] = len(known)
    assert given_codes == [[known[value] for value in chunk] for chunk in chunks]
    assert codes.values == list(known)
