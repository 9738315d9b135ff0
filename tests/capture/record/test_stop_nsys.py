"""`nsys stop`, with shells in its place."""

import os
import time

import pytest

from tracediff.capture.record import stop_nsys
from tracediff.capture.record.stop_nsys import SECONDS_WITHOUT_GROWTH, StopNsys


@pytest.mark.parametrize(
    ("prints", "seconds", "has_stopped"),
    [("echo Generating; sleep 9", 0, True), ("sleep 9", 0, False), ("sleep 9", 9, True)],
)
def test_nsys_has_stopped_once_it_says_what_it_writes_or_takes_too_long(
    monkeypatch, tmp_path, prints, seconds, has_stopped
):
    stop = StopNsys(["sh", "-c", prints], dict(os.environ), tmp_path)
    assert stop.has_ended()
    stop.has_stopped()
    started = time.monotonic()
    while "echo" in prints and not (tmp_path / "stop.log").stat().st_size:
        assert time.monotonic() < started + 20
    now = time.monotonic() + seconds
    monkeypatch.setattr(stop_nsys.time, "monotonic", lambda: now)
    assert stop.has_stopped() is has_stopped
    assert not stop.has_ended()
    monkeypatch.undo()
    stop.kill()
    assert stop.has_ended()
    assert not stop.has_succeeded


def test_it_hangs_once_nothing_has_grown_for_long(monkeypatch, tmp_path):
    now = time.monotonic()
    monkeypatch.setattr(stop_nsys.time, "monotonic", lambda: now)
    stop = StopNsys(["sleep", "600"], dict(os.environ), tmp_path)
    assert not stop.hangs()
    stop.has_stopped()
    for size in (1, 2):
        now += SECONDS_WITHOUT_GROWTH + 1
        (tmp_path / "record.qdstrm").write_bytes(bytes(size))
        assert not stop.hangs()
    now += SECONDS_WITHOUT_GROWTH + 1
    assert stop.hangs()
    stop.kill()
    assert not stop.hangs()
    assert not stop.has_succeeded
