"""cuBLASLt's log lines, given to the products that they were written for."""

import pytest
from small_exports import PROCESS, SmallExport

from tracediff.trace import read_trace

GEMM = "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_TNT"
LINE = "cublasLtHSHMatmul Adesc=[type=R_16F rows=64 cols=64] algo=[algoId=66 numSplitsK={}]"
MARK = 34


def mark(export, time, split_k, thread):
    return export.add("NVTX_EVENTS", start=time, eventType=MARK, text=LINE.format(split_k), globalTid=thread)


def logged(export, tmp_path):
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    return [table.algorithms[code][-2] if code >= 0 else None for code in table.algorithm.tolist()]


@pytest.fixture
def three_threads():
    """A product on each of three threads, one after the other."""
    export = SmallExport()
    for number in range(3):
        export.kernel(GEMM, number + 1, 100 * (number + 1), thread=PROCESS + 10 + number)
    return export


def test_a_line_belongs_to_the_next_product_of_its_thread(three_threads, tmp_path):
    mark(three_threads, 50, 3, PROCESS + 11)
    mark(three_threads, 60, 4, PROCESS + 12)
    assert logged(three_threads, tmp_path) == [None, "3", "4"]


def test_of_several_lines_before_a_product_the_last_counts(three_threads, tmp_path):
    mark(mark(three_threads, 50, 3, PROCESS + 10), 60, 4, PROCESS + 10)
    assert logged(three_threads, tmp_path) == ["4", None, None]


def test_a_line_of_a_thread_that_launches_nothing_is_given_to_none(three_threads, tmp_path):
    mark(three_threads, 50, 3, PROCESS + 99)
    assert logged(three_threads, tmp_path) == [None, None, None]


def test_a_line_after_the_last_product_or_in_another_range_is_given_to_none(three_threads, tmp_path):
    mark(three_threads, 150, 3, PROCESS + 10)
    mark(three_threads.range("module", 0, 80, thread=PROCESS + 11), 50, 4, PROCESS + 11)
    assert logged(three_threads, tmp_path) == [None, None, None]
