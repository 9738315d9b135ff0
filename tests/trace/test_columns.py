"""Columns of whole tables: counts and distinct values are what counting one by one gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracediff.trace import columns
from tracediff.trace.columns import count_codes, distinct_of


@pytest.mark.parametrize("at_once", [1, 3, 1 << 20])
@given(codes=st.lists(st.integers(0, 6), max_size=12))
def test_every_code_is_counted_however_many_are_counted_at_once(codes, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_DIRECT_CODES", at_once)
        counted = count_codes(np.array(codes, dtype=np.int32), 7)
    assert counted.tolist() == [codes.count(code) for code in range(7)]


@given(values=st.lists(st.integers(-5, 5), max_size=12))
def test_distinct_values_are_in_order_and_each_once(values):
    assert distinct_of(np.array(values, dtype=np.int64)).tolist() == sorted(set(values))
