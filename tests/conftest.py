"""The nsys of this machine, for tests marked `nsys`, and torch on one thread."""

import os

import pytest

from tracediff.capture.probe import choose_nsys
from tracediff.errors import TracediffError


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


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """One thread per test process: tiny models gain nothing from more, and several processes on few cores lose."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
