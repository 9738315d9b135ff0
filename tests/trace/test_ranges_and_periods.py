"""Nesting and periods, against slow and obvious computations."""

import shutil
import sqlite3
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profiles import FLOAT16
from tracediff.trace import read_trace
from tracediff.trace.period import find_periods
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


def test_blocks_are_found_by_their_period():
    block, before, after = [1, 2, 3, 2, 4], [9, 8], [7]
    sequence = np.array((before + block * 6 + after) * 3, dtype=np.int64)
    periods = find_periods(sequence)
    assert periods.kernels == 5
    assert periods.layer[2:32].tolist() == [layer for layer in range(6) for _ in range(5)]
    assert (periods.layer[:2] == -1).all()
    assert periods.run.max() == 2


@pytest.mark.parametrize("sequence", [[], [1], [1, 2, 3, 4, 5], [1] * 50, list(range(100))])
def test_where_nothing_repeats_there_are_no_layers(sequence):
    assert find_periods(np.array(sequence, dtype=np.int64)) is None


def test_the_layers_of_a_real_model_are_found_without_its_ranges(tmp_path):
    path = shutil.copy(FLOAT16 / "b1.sqlite", tmp_path / "t.sqlite")
    expected = read_trace(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM NVTX_EVENTS")
    connection.close()
    table = read_trace(path)
    blocks = [expected.keys[key].layer for key in expected.key]
    by_layer = Counter(blocks)
    found = Counter(table.keys[key].layer for key in table.key)
    assert found.keys() == by_layer.keys()
    assert any("blocks of" in note for note in table.notes)
    per_block = {count for layer, count in found.items() if layer is not None}
    assert len(per_block) <= 2
    agree = sum(
        mine == theirs for mine, theirs in zip((table.keys[key].layer for key in table.key), blocks, strict=True)
    )
    assert agree > 0.9 * len(blocks)
