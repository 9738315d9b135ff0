"""What is started around a program, and how it is ended."""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tracediff.capture.record import program
from tracediff.capture.record.options import RecordOptions
from tracediff.capture.record.program import SETTINGS, STARTUP_FOLDER, nsys_command, surroundings
from tracediff.errors import TracediffError

OPTIONS = RecordOptions(command=(sys.executable, "x.py"))


def command(*options):
    return nsys_command(Path("nsys"), Path("record"), "mine", options, ["program", "--trace=x"])


def test_everything_of_every_process_is_recorded():
    assert {"--trace=cuda,nvtx", "--cuda-graph-trace=node", "--trace-fork-before-exec=true"} <= set(command())
    assert command()[-2:] == ["program", "--trace=x"]


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        (("--trace=nvtx,osrt",), "--trace=cuda,nvtx"),
        (("-t", "nvtx"), "--trace=cuda,nvtx"),
        (("-s", "process-tree"), "--sample=none"),
        (("--cuda-graph-trace=graph",), "--cuda-graph-trace=node"),
    ],
)
def test_an_option_of_the_users_takes_the_place_of_ours(given, replaced):
    asked = command(*given)
    assert replaced not in asked
    assert asked.index(given[0]) < asked.index("program")


def test_the_program_gets_the_callers_whole_environment_with_the_hook_first(tmp_path):
    caller = {"TOKEN": "theirs", "PYTHONPATH": "theirs", "TMPDIR": "/theirs"}
    given = surroundings(OPTIONS, caller, tmp_path)
    assert given["TOKEN"] == "theirs"
    assert given["PYTHONPATH"].split(os.pathsep) == [str(STARTUP_FOLDER), "theirs"]
    assert given["TMPDIR"] == str(tmp_path)
    assert json.loads(given[SETTINGS])["ranges"] == "modules"
    assert "theirs" not in given[SETTINGS]


class Clock:
    """Time that only passes when told to, and the signals sent meanwhile."""

    def __init__(self, monkeypatch):
        self.now, self.sent, self.told = 0.0, [], []
        monkeypatch.setattr(program.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(program.os, "kill", lambda process, number: self.sent.append((process, number)))
        self.caught = program._Caught(SimpleNamespace(begin=lambda: None))
        self.has_stopped = True
        stop = SimpleNamespace(has_stopped=lambda: self.has_stopped)
        self.listener = program._Listener(self.caught, self.told.append, stop)

    def reports(self, *events):
        self.listener.take({"event": event, "launcher": 42, "code": 3} for event in events)

    def interrupt(self, number=signal.SIGINT):
        self.caught.end(number, None)
        self.listener.end_if_asked()

    def pass_seconds(self, seconds):
        self.now += seconds
        self.listener.end_if_asked()

    @property
    def signals(self):
        return [number for _, number in self.sent]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_an_interrupt_waits_for_the_program_to_start(clock):
    clock.interrupt()
    assert clock.sent == []
    clock.reports("started")
    clock.pass_seconds(0.1)
    assert clock.sent == [(42, signal.SIGINT)]


def test_a_program_that_does_not_end_is_ended_less_gently(clock):
    clock.reports("started")
    clock.interrupt()
    for seconds in (19, 2, 9, 2):
        clock.pass_seconds(seconds)
    assert clock.signals == [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]


def test_sigterm_is_passed_on_as_sigterm(clock):
    clock.reports("started")
    clock.interrupt(signal.SIGTERM)
    assert clock.signals == [signal.SIGTERM]


def test_the_program_is_told_to_end_once_nsys_has_stopped_recording(clock):
    clock.reports("started")
    clock.has_stopped = False
    clock.interrupt()
    clock.pass_seconds(1)
    assert clock.signals == []
    clock.has_stopped = True
    clock.pass_seconds(1)
    assert clock.signals == [signal.SIGINT]
    assert len(clock.told) == 1


def test_a_program_that_ends_while_nsys_stops_loses_nothing(clock):
    clock.reports("started")
    clock.has_stopped = False
    clock.interrupt()
    clock.reports("ended", "all ended")
    clock.pass_seconds(1)
    assert clock.signals == []


def test_a_second_interrupt_does_not_wait_for_nsys(clock):
    clock.reports("started")
    clock.has_stopped = False
    clock.interrupt()
    clock.interrupt()
    clock.pass_seconds(19)
    assert clock.signals == [signal.SIGINT]
    clock.interrupt()
    assert clock.signals == [signal.SIGINT, signal.SIGQUIT]


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("has_stopped", [True, False])
def test_signals_that_come_together_or_before_the_start_are_one_and_leave_time_to_end(clock, has_stopped, started):
    clock.has_stopped = has_stopped
    if started:
        clock.reports("started")
    clock.caught.end(signal.SIGHUP, None)
    clock.interrupt(signal.SIGTERM)
    clock.reports("started")
    clock.pass_seconds(0.1)
    assert clock.signals == ([signal.SIGTERM] if has_stopped else [])
    clock.has_stopped = True
    for seconds in (0.1, 19):
        clock.pass_seconds(seconds)
    assert clock.signals == [signal.SIGTERM]
    clock.pass_seconds(2)
    assert clock.signals == [signal.SIGTERM, signal.SIGTERM]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("has_stopped", [True, False])
@pytest.mark.parametrize("numbers", [(signal.SIGINT,) * 2, (signal.SIGINT, signal.SIGTERM), (signal.SIGHUP,) * 3])
def test_what_a_program_recorded_is_kept_after_any_signals_until_its_end(clock, numbers, has_stopped, together):
    clock.has_stopped = has_stopped
    clock.reports("started")
    for number in numbers:
        clock.caught.end(number, None)
        if not together:
            clock.pass_seconds(1)
    clock.pass_seconds(0.1)
    clock.reports("ended", "all ended")
    clock.pass_seconds(60)
    assert clock.listener.recorded.interrupted
    with pytest.raises(KeyboardInterrupt):
        clock.interrupt()


def test_signals_that_come_as_the_program_ends_keep_what_it_recorded(clock):
    clock.reports("started")
    clock.interrupt()
    clock.caught.end(signal.SIGINT, None)
    clock.reports("ended", "all ended")
    clock.pass_seconds(0.1)
    assert clock.signals == [signal.SIGINT]


def test_an_interrupt_gives_up_an_nsys_that_does_not_start_the_program(clock):
    clock.interrupt()
    clock.pass_seconds(19)
    with pytest.raises(KeyboardInterrupt):
        clock.pass_seconds(2)


def test_a_second_interrupt_kills_at_once(clock):
    clock.reports("started")
    clock.interrupt()
    clock.interrupt()
    assert clock.signals == [signal.SIGINT, signal.SIGQUIT]


def test_an_interrupt_while_nsys_collects_gives_up(clock):
    clock.reports("started", "ended", "all ended")
    with pytest.raises(KeyboardInterrupt):
        clock.interrupt()


def test_the_interrupt_that_ended_the_program_does_not_give_up_collecting(clock):
    clock.reports("started")
    clock.interrupt()
    clock.reports("ended", "all ended")
    clock.pass_seconds(60)
    assert clock.signals == [signal.SIGINT]
    assert clock.listener.recorded.interrupted


@pytest.mark.parametrize(("seconds", "found"), [(1, True), (31, False)])
def test_an_nsys_of_the_programs_own_is_seen_soon_after_its_start(clock, monkeypatch, seconds, found):
    monkeypatch.setattr(program, "starts_own_nsys", lambda process: process == 42)
    clock.listener.look_for_nsys()
    assert not clock.listener.recorded.starts_nsys
    clock.reports("started")
    clock.now += seconds
    clock.listener.look_for_nsys()
    assert clock.listener.recorded.starts_nsys is found


def test_processes_that_are_left_are_told_once_after_a_while(clock, monkeypatch):
    monkeypatch.setattr(program.launcher, "descendants", lambda _: [7, 8])
    clock.reports("started", "ended")
    for seconds in (1, 3, 5):
        clock.now += seconds
        clock.listener.tell_of_processes_left()
    assert clock.told == ["the program ended, 2 of its processes did not: recording until they do, or Ctrl-C"]


def test_a_program_that_does_not_start_is_one_line(clock):
    with pytest.raises(TracediffError, match="cannot be started: Exec format error"):
        clock.listener.take([{"event": "not started", "reason": "Exec format error"}])
