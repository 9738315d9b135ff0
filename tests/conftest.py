"""The nsys of this machine, for tests marked `nsys`; torch on one thread; the signals of a terminal; which are slow."""

import os
import signal

import pytest

from tracediff.capture.probe import choose_nsys
from tracediff.errors import TracediffError

# Tiny models gain nothing from more threads, and several test processes on few cores lose. Read when torch is imported,
# which most tests never do.
os.environ["OMP_NUM_THREADS"] = "1"

# A program started in the background (`&`, nohup) has them ignored, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def nsys():
    """An nsys that records, imports, exports and sees our ranges: required in CI, else a reason to skip."""
    try:
        tried = choose_nsys(dict(os.environ))
        why_not = None if tried.works else f"{tried.problem}: {tried.hint}"
    except TracediffError as error:
        why_not = str(error)
    if why_not is None:
        return tried.nsys
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have a working nsys: {why_not}")
    pytest.skip(why_not)


def pytest_collection_modifyitems(items):
    """Count every test of a browser or of nsys as slow."""
    for item in items:
        if item.get_closest_marker("browser") or item.get_closest_marker("nsys") or "nsys" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
