"""Ranges of NVTX rows nest within their thread, in whatever order and on however many threads they begin."""

import numpy as np
import pytest

from tracediff.trace.columns import NULL
from tracediff.trace.nvtx import DOMAIN, MARK, PUSH_POP, START_END, Events, find_marks, find_ranges

ONE, TWO = (7 << 24) + 1, (7 << 24) + 2


def events(*rows, kind=PUSH_POP):
    """Events of (start, end, thread, text) rows."""
    texts = tuple(dict.fromkeys(text for *_, text in rows))
    starts, ends, threads = (np.array(column, dtype=np.int64) for column in list(zip(*rows, strict=True))[:3])
    nothing = np.full(len(rows), NULL, dtype=np.int64)
    return Events(
        start=starts,
        end=ends,
        kind=np.full(len(rows), kind, dtype=np.int64),
        thread=threads,
        end_thread=nothing,
        domain=np.zeros(len(rows), dtype=np.int64),
        text=np.array([texts.index(text) for *_, text in rows], dtype=np.int32),
        payload=nothing,
        texts=texts,
    )


def nested(found):
    """Each range's text and that of the range around it."""
    named = [found.texts[code] for code in found.text]
    return {name: None if parent < 0 else named[parent] for name, parent in zip(named, found.parent, strict=True)}


def test_ranges_of_threads_that_take_turns_nest_within_their_thread():
    found = find_ranges(
        events((10, 90, ONE, "a"), (20, 80, TWO, "b"), (30, 40, ONE, "a.inner"), (50, 60, TWO, "b.inner"))
    )
    assert nested(found) == {"a": None, "a.inner": "a", "b": None, "b.inner": "b"}
    open_at_55 = found.innermost(np.array([0, 1, -1], dtype=np.int32), [ONE, TWO], np.array([55, 55, 55]))
    assert [None if at < 0 else found.texts[found.text[at]] for at in open_at_55] == ["a", "b.inner", None]


def test_of_ranges_that_begin_together_the_longer_is_around():
    found = find_ranges(events((10, 20, ONE, "inner"), (10, 90, ONE, "outer"), (5, 95, ONE, "all")))
    assert nested(found) == {"all": None, "outer": "all", "inner": "outer"}


def test_an_open_range_ends_with_the_trace_and_an_empty_one_covers_nothing():
    found = find_ranges(events((10, NULL, ONE, "open"), (20, 20, ONE, "empty"), (30, 90, ONE, "last")))
    assert nested(found) == {"open": None, "last": "open"}
    assert found.end.tolist() == [90, 90]
    assert found.notes == ("1 NVTX ranges were still open at the end",)
    assert find_ranges(events((10, 20, ONE, "a"))).notes == ()


@pytest.mark.parametrize("kind", [MARK, DOMAIN])
def test_only_ranges_are_ranges(kind):
    assert len(find_ranges(events((10, 20, ONE, "a"), kind=kind)).start) == 0
    assert len(find_ranges(events((10, 20, ONE, "a"), kind=START_END)).start) == 1


def test_marks_are_found_by_their_text():
    rows = events((10, NULL, ONE, "algorithm"), (20, NULL, TWO, "other"), (30, NULL, TWO, "algorithm"), kind=MARK)
    found = find_marks(rows, np.array([True, False]))
    assert (found.time.tolist(), found.thread.tolist()) == ([10, 30], [ONE, TWO])
    assert len(find_marks(events((10, 20, ONE, "algorithm")), np.array([True])).time) == 0
