"""Signals to `tracediff record` while a program runs under a stand-in for nsys."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tracediff.capture.find_nsys import Nsys
from tracediff.capture.record import stop_nsys
from tracediff.capture.record.options import RecordOptions
from tracediff.capture.record.program import run_recorded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")

# `nsys profile --option=… PROGRAM` runs the program and writes a report; `nsys stop` is given.
NSYS = """#!/bin/sh
if [ "$1" = stop ]; then {stop}; fi
for word; do case "$word" in --output=*) output=${{word#--output=}};; esac; done
shift
while case "$1" in --*) true;; *) false;; esac; do shift; done
"$@"
code=$?
: > "$output.nsys-rep"
exit $code
"""
# Says that it runs, and ends with 5 at the first signal.
PROGRAM = """
import signal, sys, time
from pathlib import Path
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: sys.exit(5))
Path({ready!r}).touch()
time.sleep(600)
"""


def recorded(folder, stop, *signals):
    """Return what comes of a recording to which signals are sent: pairs of seconds to wait for and a signal."""
    nsys, ready, temporary = folder / "nsys", folder / "ready", folder / "temporary"
    nsys.write_text(NSYS.format(stop=stop))
    nsys.chmod(0o755)
    temporary.mkdir()

    def send():
        while not ready.exists():
            time.sleep(0.05)
        for seconds, number in signals:
            time.sleep(seconds)
            os.kill(os.getpid(), number)

    options = RecordOptions(command=(sys.executable, "-c", PROGRAM.format(ready=str(ready))))
    threading.Thread(target=send).start()
    told = []
    result = run_recorded(options, Nsys(path=nsys, version="2025.1"), temporary, dict(os.environ), told.append)
    assert [path.name for path in Path(temporary).glob("*.nsys-rep")] == ["record.nsys-rep"]
    return result, told


@pytest.mark.parametrize(
    "signals",
    [
        [(0, signal.SIGINT), (0.5, signal.SIGINT)],
        [(0, signal.SIGINT), (0, signal.SIGTERM)],
        [(0, signal.SIGHUP), (0.3, signal.SIGTERM)],
    ],
)
def test_a_second_signal_while_nsys_stops_keeps_the_recording(tmp_path, signals):
    result, told = recorded(tmp_path, "sleep 2; echo Generating; exit 0", *signals)
    assert (result.code, result.interrupted, result.stopped) == (5, True, True)
    assert told[-1] == "collecting what nsys recorded"


def test_an_nsys_stop_that_hangs_is_killed_and_the_recording_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(stop_nsys, "_SECONDS_TO_STOP", 0.3)
    monkeypatch.setattr(stop_nsys, "SECONDS_WITHOUT_GROWTH", 1.5)
    result, told = recorded(tmp_path, "sleep 600; exit 0", (0, signal.SIGTERM))
    assert (result.code, result.interrupted, result.stopped) == (5, True, False)
    assert told[-1].startswith("nsys stop wrote nothing for")
