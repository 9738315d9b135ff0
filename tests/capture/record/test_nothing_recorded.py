"""What is said where nothing was recorded."""

import signal
from pathlib import Path

import pytest

from tracediff.capture.record import run
from tracediff.capture.record.program import Recorded
from tracediff.errors import TracediffError

OWN_NSYS = (
    "the program starts an nsys of its own, and two cannot record one program: "
    "record the program itself; options of nsys go into --nsys-args"
)
LOST = ["nsys has no kernels of 1 forked process"]
KILLED = 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("recorded", "lost", "why"),
    [
        (Recorded(code=1), [], "it used no GPU and opened no range until then"),
        (Recorded(code=1), LOST, LOST[0]),
        (Recorded(code=1, starts_nsys=True), [], OWN_NSYS),
        (Recorded(code=1, starts_nsys=True), LOST, OWN_NSYS),
        (Recorded(code=KILLED), LOST, "SIGTERM leaves nsys no time to collect what was not collected by then"),
        (Recorded(code=KILLED, stopped=True), [], "it used no GPU and opened no range until then"),
        (Recorded(code=KILLED, stopped=True), LOST, LOST[0]),
        (Recorded(code=KILLED, starts_nsys=True), [], OWN_NSYS),
    ],
)
def test_a_program_that_failed_passes_its_code_on_and_the_likeliest_cause_is_named(recorded, lost, why):
    result = run._nothing(Path("out"), recorded, lost)
    assert (result.code, result.traces) == (recorded.code, ())
    assert result.warnings == (f"nothing was recorded: the program ended with {recorded.code}; {why}",)


@pytest.mark.parametrize(
    ("recorded", "lost", "why"),
    [
        (Recorded(), [], "the program used no GPU and opened no range"),
        (Recorded(), LOST, LOST[0]),
        (Recorded(starts_nsys=True), LOST, OWN_NSYS),
    ],
)
def test_a_program_that_succeeded_and_left_nothing_is_an_error(recorded, lost, why):
    with pytest.raises(TracediffError) as raised:
        run._nothing(Path("out"), recorded, lost)
    assert str(raised.value).startswith(f"nothing was recorded: {why}")
