"""What a thread wrote, read back as ranges."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracediff.capture.record.range_files import AFTER_MARK, ALL_CLOSED, BEFORE_MARK, CLOSED, LOST
from tracediff.capture.record.written_threads import WrittenThread


def one_by_one(numbers):
    """Return where ranges open and close, as a stack has it."""
    opened, found = [], []
    for place, number in enumerate(numbers):
        if number > 0:
            opened.append((place, number))
        elif number == CLOSED and opened:
            began, text = opened.pop()
            found.append((began, place, text))
        elif number in (ALL_CLOSED, LOST):
            found += [(began, place, text) for began, text in opened]
            opened.clear()
    return sorted([*found, *((began, -1, text) for began, text in opened)])


@given(
    st.lists(
        st.sampled_from([1, 2, 3, CLOSED, CLOSED, CLOSED, BEFORE_MARK, AFTER_MARK, AFTER_MARK - 7, ALL_CLOSED, LOST])
    )
)
def test_ranges_nest_as_they_opened_and_closed(numbers):
    moments = np.arange(len(numbers), dtype=np.int64)
    thread = WrittenThread(name="1-2-3-4", process="1-2", moments=moments, numbers=np.array(numbers, dtype=np.int64))
    assert sorted(zip(*(column.tolist() for column in thread.ranges()), strict=True)) == one_by_one(numbers)
