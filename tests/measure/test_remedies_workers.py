"""Processes that hold a model: errors come back as one line, and several work at once."""

import threading
from pathlib import Path

import pytest

from tracediff.errors import TracediffError
from tracediff.measure.remedies_workers import at_once, worker_process


def test_a_worker_that_breaks_is_one_line_and_leaves_no_process(capfd):
    with worker_process() as worker:
        with pytest.raises(TracediffError, match="a measuring process ended early"):
            worker.ask({"no such order": 1})
        assert worker.process.wait(timeout=30) != 0
        assert worker.ended
    assert "KeyError" in capfd.readouterr().err


def test_a_worker_has_its_environment_and_ends_with_the_block(monkeypatch):
    monkeypatch.setenv("TRACEDIFF_TEST_VARIABLE", "outer")
    with worker_process((("TRACEDIFF_TEST_VARIABLE", "inner"),)) as worker:
        assert worker.ask({"release": True}) == {}
        # Only now that it has answered: while a process starts, its environment reads as empty.
        environment = Path(f"/proc/{worker.process.pid}/environ").read_bytes()
        assert b"TRACEDIFF_TEST_VARIABLE=inner" in environment
    assert worker.ended


def test_calls_run_at_once_and_their_results_come_in_order():
    together = threading.Barrier(3, timeout=10)

    def call(number):
        together.wait()
        return number * 2

    assert at_once(call, [1, 2, 3]) == [2, 4, 6]
    assert at_once(call, []) == []


def test_an_error_of_one_call_is_raised_when_all_have_ended():
    ended = []

    def call(number):
        if number == 1:
            raise TracediffError("the first failed")
        ended.append(number)

    with pytest.raises(TracediffError, match="the first failed"):
        at_once(call, [1, 2, 3])
    assert sorted(ended) == [2, 3]
