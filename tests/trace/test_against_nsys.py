"""Totals per innermost range agree with nsys's own, row by row."""

import csv
import io
import shutil
import subprocess
from collections import Counter

import pytest

from tests.profiles import FLOAT16
from tracediff.trace import read_trace


def by_nsys(nsys, trace):
    """Return {(innermost range, kernel name): (kernels, ns)} as `nsys stats` reports them."""
    done = subprocess.run(
        [nsys.path, "stats", "--quiet", "--report", "cuda_gpu_kern_sum:nvtx-name", "--format", "csv", trace],
        capture_output=True,
        text=True,
        check=True,
    )
    totals = {}
    for line in csv.DictReader(io.StringIO(done.stdout[done.stdout.index("Time (%)") :])):
        place, _, name = line["Name"].partition("/")
        totals[place, name] = (int(line["Instances"]), int(line["Total Time (ns)"]))
    return totals


def by_tracediff(trace):
    table = read_trace(trace)
    kernels, time = Counter(), Counter()
    for key, name, duration in zip(table.key, table.name, table.duration_ns.tolist(), strict=True):
        place = table.keys[key].module or table.keys[key].phase
        kernels[place, table.names[name]] += 1
        time[place, table.names[name]] += duration
    return {each: (count, time[each]) for each, count in kernels.items()}


@pytest.mark.nsys
@pytest.mark.parametrize("batch", [1, 8])
def test_totals_per_range_are_those_of_nsys(nsys, tmp_path, batch):
    # nsys writes tables of its own into the file it reads.
    copy = shutil.copy(FLOAT16 / f"b{batch}.sqlite", tmp_path / "trace.sqlite")
    assert by_tracediff(FLOAT16 / f"b{batch}.sqlite") == by_nsys(nsys, copy)
