"""Nesting of ranges, against slow and obvious computations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracediff.trace.ranges import nest, phases

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), max_size=25)


def slow(ranges, moment):
    """Return the last-begun range that is open, the inner one of those that began together."""
    is_open = [(start, -end, index) for index, (start, end) in enumerate(ranges) if start <= moment < end]
    return max(is_open)[2] if is_open else -1


@given(RANGES)
def test_innermost_is_the_last_begun_that_is_open(spans):
    ranges = sorted(((start, start + length) for start, length in spans), key=lambda span: (span[0], -span[1]))
    nesting = nest(*(np.array([span[side] for span in ranges], dtype=np.int64) for side in (0, 1)))
    for moment in range(-1, 85):
        assert nesting.innermost(np.array([moment]))[0] == slow(ranges, moment)


@given(st.recursive(st.just([]), lambda inside: st.lists(inside, max_size=4), max_leaves=40))
def test_parents_of_properly_nested_ranges(tree):
    clock, spans, parents = 0, [], []

    def walk(children, parent):
        nonlocal clock
        for child in children:
            index = len(spans)
            spans.append([clock, None])
            parents.append(parent)
            clock += 1
            walk(child, index)
            spans[index][1] = clock
            clock += 1

    walk(tree, -1)
    start, end = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    nesting = nest(start, end)
    assert nesting.parent.tolist() == parents
    outermost = phases(nesting.parent, np.zeros(len(spans), dtype=bool))
    for index, phase in enumerate(outermost.tolist()):
        around = index
        while parents[around] != -1:
            around = parents[around]
        assert phase == around


@given(st.lists(st.integers(-1, 8), min_size=1, max_size=9), st.lists(st.booleans(), min_size=9, max_size=9))
def test_phase_is_the_outermost_of_the_named_ranges(raw, named):
    parent = np.array([min(value, index - 1) for index, value in enumerate(raw)], dtype=np.int64)
    is_phase = np.array(named[: len(parent)])
    for index, phase in enumerate(phases(parent, is_phase).tolist()):
        chain = [index]
        while parent[chain[-1]] != -1:
            chain.append(int(parent[chain[-1]]))
        said = [each for each in chain if is_phase[each]]
        assert phase == (said or chain)[-1]
