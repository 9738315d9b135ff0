"""Kernels find their launch call, however the two tables are ordered."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracediff.trace.algorithm import parse_algorithm, without_pointers
from tracediff.trace.columns import NULL, Growing, count_up_to, distinct_and_places
from tracediff.trace.launches import Launches

PROCESSES = [1 << 24, 2 << 24]
IDS = st.integers(-3, 6) | st.sampled_from([NULL, 2**62])


@given(
    kernels=st.lists(st.tuples(st.integers(0, 1), IDS), min_size=1, max_size=12),
    calls=st.lists(st.lists(st.tuples(IDS, st.integers(0, 50) | st.just(NULL), st.integers(0, 2), st.integers(1, 2)))),
    states_process=st.booleans(),
    ascending=st.booleans(),
)
def test_of_each_kernel_the_first_call_with_its_id_in_its_process(kernels, calls, states_process, ascending):
    if ascending:
        kernels = [(0, number) for number in range(len(kernels))]
    process, ids = (np.array(column, dtype=np.int64) for column in zip(*kernels, strict=True))
    launches = Launches(process.astype(np.int32), ids, PROCESSES if states_process else None)
    first = {}
    for chunk in calls:
        columns = [np.array(column, dtype=np.int64) for column in zip(*chunk, strict=True)] or [
            np.zeros(0, np.int64)
        ] * 4
        tid = PROCESSES[0] * columns[2] + columns[3]
        launches.add({"correlationId": columns[0], "start": columns[1], "globalTid": tid})
        for each, start, owner in zip(columns[0].tolist(), columns[1].tolist(), tid.tolist(), strict=True):
            if NULL not in (each, start):
                place = (each, owner & ~0xFFFFFF if states_process else 0)
                first.setdefault(place, (owner, start))
    thread, launch = launches.result()
    names = launches.threads.values
    for code, each, index, found in zip(process.tolist(), ids.tolist(), thread.tolist(), launch.tolist(), strict=True):
        expected = first.get((each, PROCESSES[code] if states_process else 0))
        assert (None if index < 0 else (names[index], found)) == expected


@given(st.lists(st.integers(-5, 5)), st.lists(st.integers(-7, 7)), st.booleans())
def test_counting_up_to_a_moment(values, moments, in_order):
    values, moments = np.sort(np.array(values, dtype=np.int64)), np.array(moments, dtype=np.int64)
    moments = np.sort(moments) if in_order else moments
    assert count_up_to(values, moments).tolist() == [int((values <= moment).sum()) for moment in moments]


@given(st.lists(st.integers(-5, 5) | st.just(NULL)))
def test_distinct_values_and_where_each_stands_among_them(values):
    distinct, place = distinct_and_places(np.array(values, dtype=np.int64))
    assert distinct.tolist() == sorted(set(values))
    assert distinct[place].tolist() == values


@given(st.lists(st.lists(st.integers(0, 1), max_size=5), min_size=1, max_size=6), st.floats(0.01, 1))
def test_columns_grow_to_all_their_chunks_constant_or_not(chunks, share):
    growing = Growing()
    for chunk in chunks:
        values = np.array(chunk, dtype=np.int32)
        growing.add({"a": values, "b": np.full(len(chunk), 7), "c": np.stack([values, values], axis=1)}, share)
    columns = growing.columns() or dict.fromkeys("abc", np.zeros(0))
    whole = [value for chunk in chunks for value in chunk]
    assert columns["a"].tolist() == whole
    assert columns["b"].tolist() == [7] * len(whole)
    assert columns["c"].tolist() == [[value, value] for value in whole]


def test_a_log_line_without_pointers_says_the_same():
    line = (
        "cublasLtHSHMatmul A=0X7F03C4000000 Adesc=[type=R_16F rows=4096 cols=4096 ld=4096] B=0X7F03C2000000 "
        "Bdesc=[type=R_16F rows=4096 cols=6 ld=4096] Ddesc=[type=R_16F rows=4096 cols=6 ld=4096] "
        "computeDesc=[computeType=COMPUTE_32F transa=OP_T] algo=[algoId=66 tile=MATMUL_TILE_128x8 "
        "stages=MATMUL_STAGES_64xAUTO numSplitsK=3] workSpace=0X7F03C8000000 workSpaceSizeInBytes=294928 stream=0X0"
    )
    assert parse_algorithm(without_pointers(line)) == parse_algorithm(line)
    assert without_pointers(line) == without_pointers(line.replace("7F03C", "7F99A"))
    assert "0X" not in without_pointers(line)
