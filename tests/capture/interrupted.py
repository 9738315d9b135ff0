"""A capture that is interrupted while its worker loads the model."""

import subprocess

import pytest

from tracediff.capture import run, worker_process
from tracediff.capture.options import CaptureOptions


class Interrupted(BaseException):
    """As a Ctrl-C would be, but no test runner stops at it."""


def worker_of_an_interrupted_capture(options: CaptureOptions, monkeypatch) -> subprocess.Popen:
    """Interrupt a capture when its worker begins to load the model; return that worker's process."""
    started = []
    popen = subprocess.Popen

    def remember(*arguments, **more):
        started.append(popen(*arguments, **more))
        return started[-1]

    def interrupt(step):
        if step.startswith("loading"):
            raise Interrupted

    monkeypatch.setattr(worker_process.subprocess, "Popen", remember)
    with pytest.raises(Interrupted):
        run.capture(options, interrupt)
    return started[0]
