"""Large traces, made of a real one that is repeated: every total is an exact multiple."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_exports import DATA

from tracediff.trace import read_trace

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "scale_trace.py"


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale_trace", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale_trace"] = module
    spec.loader.exec_module(module)
    return module.scale


def totals(table, keep=slice(None)):
    """Return kernels and time of each (phase, module, name)."""
    kernels, time = Counter(), Counter()
    for key, name, duration in zip(table.key[keep], table.name[keep], table.duration_ns[keep].tolist(), strict=True):
        place = (table.keys[key], table.names[name])
        kernels[place] += 1
        time[place] += duration
    return {place: (count, time[place]) for place, count in kernels.items()}


def times(factor, counts):
    return {place: (kernels * factor, time * factor) for place, (kernels, time) in counts.items()}


@pytest.mark.parametrize("source", ["llama-two-blocks-b1.sqlite", "cuda-graph-b1.sqlite"])
def test_repeated_in_time(scale, tmp_path, source):
    scale(DATA / source, tmp_path / "t.sqlite", 40, 1, 1000, True)
    one, many = read_trace(DATA / source), read_trace(tmp_path / "t.sqlite")
    assert totals(many) == times(40, totals(one))


def test_processes_that_share_correlation_ids_and_time(scale, tmp_path):
    source = DATA / "llama-two-blocks-b1.sqlite"
    scale(source, tmp_path / "t.sqlite", 40, 8, 1000, True)
    one, many = read_trace(source), read_trace(tmp_path / "t.sqlite")
    for process in range(8):
        assert totals(many, np.flatnonzero(many.process == process)) == times(5, totals(one))
