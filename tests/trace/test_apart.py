import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tracediff.errors import TracediffError
from tracediff.trace.apart import apart, can_share

pytestmark = pytest.mark.skipif(not can_share(), reason="this system cannot fork, or has no memory without a name")


def process_and_columns(number):
    column = np.arange(number * 1000, dtype=np.int64)
    return {"process": os.getpid(), "column": column, "rows": column.reshape(-1, 2), "text": str(number)}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_results_come_in_order_with_their_columns(processes):
    results = list(apart(process_and_columns, [1, 2, 3, 4], processes))
    assert [result["text"] for result in results] == ["1", "2", "3", "4"]
    for number, result in enumerate(results, start=1):
        np.testing.assert_array_equal(result["column"], np.arange(number * 1000))
        np.testing.assert_array_equal(result["rows"], np.arange(number * 1000).reshape(-1, 2))


def test_the_first_is_made_in_this_process_and_the_others_in_others():
    processes = [result["process"] for result in apart(process_and_columns, [1, 2, 3], 2)]
    assert processes[0] == os.getpid()
    assert len(set(processes)) == 3


def test_columns_can_be_written_to_as_those_made_here():
    _, result = apart(process_and_columns, [1, 1], 2)
    result["column"][:] = 7
    assert result["column"].sum() == 7000


def test_a_column_of_one_value_takes_no_memory_there_either():
    _, column = apart(lambda number: np.broadcast_to(np.int32(number), 10**9), [1, 2], 2)
    assert column.shape == (10**9,)
    assert column.dtype == np.int32
    assert column.strides == (0,)
    assert column[-1] == 2


@pytest.mark.parametrize("value", [np.zeros(0, np.int64), np.broadcast_to(np.int32(3), 0), {}, None])
def test_empty_results_are_handed_over(value):
    _, result = apart(lambda _: value, [1, 2], 2)
    if isinstance(value, np.ndarray):
        assert result.dtype == value.dtype
        assert not len(result)
    else:
        assert result == value


def refuse_two(number):
    if number == 2:
        raise TracediffError("two", "take three")
    return number


def test_an_error_is_raised_in_its_turn():
    results = apart(refuse_two, [1, 2, 3], 3)
    assert next(results) == 1
    with pytest.raises(TracediffError, match="two: take three") as caught:
        next(results)
    assert caught.value.hint == "take three"


def test_a_killed_process_reads_as_no_memory():
    results = apart(lambda number: number == 1 or os.kill(os.getpid(), signal.SIGKILL), [1, 2], 2)
    assert next(results)
    with pytest.raises(MemoryError):
        next(results)


def test_a_process_that_ends_otherwise_is_a_bug():
    results = apart(lambda number: number == 1 or os._exit(3), [1, 2], 2)
    assert next(results)
    with pytest.raises(RuntimeError, match="exit code 3"):
        next(results)


def test_no_process_outlives_the_one_that_wants_no_more(tmp_path):
    def note(number):
        if number > 1:
            (tmp_path / str(number)).write_text(str(os.getpid()))
            time.sleep(60)
        return number

    results = apart(note, [1, 2], 2)
    next(results)
    while not list(tmp_path.iterdir()) or not (tmp_path / "2").read_text():
        time.sleep(0.01)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "2").read_text()), 0)


def test_no_memory_or_pipe_outlives_the_columns():
    before = len(list(Path("/proc/self/fd").iterdir()))
    results = list(apart(process_and_columns, [1, 2, 3], 2))
    assert len(results) == 3
    del results
    assert len(list(Path("/proc/self/fd").iterdir())) == before
