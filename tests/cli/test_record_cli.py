"""`tracediff record` as a user calls it, with the recording itself left out."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tracediff.capture.record import run as recording
from tracediff.capture.record.clean import CleanRecording
from tracediff.capture.record.options import StepRange
from tracediff.capture.record.run import RecordedTrace, RecordResult
from tracediff.cli import app

PROGRAM = Path(sys.executable).name


@pytest.fixture
def asked(monkeypatch):
    """Record nothing: keep what was asked for, and answer with a trace of two shapes and the code 6."""
    options = []

    def record(each, progress):
        options.append(each)
        progress("recording")
        holds = CleanRecording(
            **{"kernels": 9, "ranges": 8, "own_ranges": 8, "marks": 2, "processes": 1, "bounds": "program"},
            steps={"8x1": 40, "1x1": 20, "1x6": 1},
        )
        trace = RecordedTrace(path=Path("runs/a b/trace.sqlite"), holds=holds)
        return RecordResult(folder=Path("runs/a b"), traces=(trace,), code=6, warnings=("something to know",))

    monkeypatch.setattr(recording, "record", record)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    return options


def run(*arguments):
    return CliRunner().invoke(app, ["record", *arguments])


def test_everything_behind_the_dashes_is_the_program(asked):
    run("--out", "runs", "--steps", "2:4", "--", PROGRAM, "x.py", "--out", "theirs", "--", "-h")
    assert asked[0].command == (PROGRAM, "x.py", "--out", "theirs", "--", "-h")
    assert (asked[0].out, asked[0].steps) == (Path("runs"), StepRange(first=2, past=4))


def test_the_dashes_may_be_left_out(asked):
    run("--ranges", "none", PROGRAM, "x.py", "--steps", "5")
    assert asked[0].command == (PROGRAM, "x.py", "--steps", "5")
    assert asked[0].ranges == "none"


def test_stdout_is_the_programs_and_its_code_is_ours(asked):
    done = run("--", PROGRAM)
    assert (done.exit_code, done.stdout) == (6, "")
    assert done.stderr.splitlines() == [
        "tracediff: recording …",
        "warning: something to know",
        "runs/a b/trace.sqlite  9 kernels, 8 ranges, steps: 8x1 (40 ×), 1x1 (20 ×), 1x6 (1 ×)",
        "runs/a b/manifest.json",
        "next:",
        "  tracediff show 'runs/a b/trace.sqlite'",
        "  tracediff diff 'runs/a b/trace.sqlite' --between 1x1 8x1",
    ]


def test_a_recording_without_kernels_is_not_to_be_shown():
    held = {"kernels": 0, "ranges": 8, "own_ranges": 8, "marks": 0, "processes": 1, "bounds": "program"}
    trace = RecordedTrace(path=Path("trace.sqlite"), holds=CleanRecording(**held, steps={"1x1": 2, "2x1": 1}))
    summary = RecordResult(folder=Path("runs"), traces=(trace,), code=0, warnings=()).summary()
    assert summary == ["trace.sqlite  0 kernels, 8 ranges, steps: 1x1 (2 ×), 2x1 (1 ×)", "runs/manifest.json"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing argument"),
        (("--steps", "5", "--", PROGRAM), "--steps 5 is no range of steps"),
        (("--ranges", "layers", "--", PROGRAM), "unknown --ranges layers"),
        (("--nsys-args", "-o x", "--", PROGRAM), "--nsys-args may not hold -o"),
        (("--", "no-such-program"), "no-such-program was not found"),
        (("--", "nsys", "profile", "python"), "starts an nsys of its own"),
    ],
)
def test_what_is_wrong_is_one_line_and_code_2(asked, arguments, told):
    done = run(*arguments)
    assert (done.exit_code, done.stdout, asked) == (2, "", [])
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_help_has_an_example():
    assert "Example: tracediff record" in run("--help").stdout
