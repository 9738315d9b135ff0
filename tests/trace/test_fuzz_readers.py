"""Whatever bytes a file holds, reading it gives a consistent table or one line of error.

`python tests/trace/test_fuzz_readers.py KIND SECONDS` runs the same check under atheris, guided by coverage.
What crashed once is a test of its own, in test_bad_exports.py or test_torch_traces.py.
"""

import gzip
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracediff.errors import TracediffError
from tracediff.trace import read_trace

DATA = Path(__file__).parent / "data"
SEEDS = {
    "sqlite": sorted(DATA.glob("*.sqlite")),
    "json": sorted(DATA.glob("torch-*-b1.json.gz")),
}


def check(content, suffix):
    """Read `content` as a trace."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        try:
            table = read_trace(file.name)
        except TracediffError as error:
            assert "\n" not in str(error)
            return
    count = len(table)
    covered = table.coverage
    assert covered.kernels == count > 0
    assert covered.in_module + covered.in_phase_only + covered.outside_ranges + covered.no_launch == count
    assert (table.duration_ns >= 0).all()
    assert (np.diff(table.launch_ns) >= 0).all()
    for codes, values in ((table.name, table.names), (table.key, table.keys)):
        assert codes.min() >= 0 and codes.max() < len(values)
        assert len(set(values)) == len(values)
    assert table.algorithm.max(initial=-1) < len(table.algorithms)
    table.to_frame()


def seed(kind, index):
    content = SEEDS[kind][index % len(SEEDS[kind])].read_bytes()
    return gzip.decompress(content) if kind == "json" else content


EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=12
)
QUIET = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def edited(content, edits):
    changed = bytearray(content)
    for place, replacement in edits:
        position = int(place * len(changed))
        changed[position : position + len(replacement)] = replacement
    return bytes(changed)


@QUIET
@given(index=st.integers(0, 2), edits=EDITS, cut=st.floats(0.5, 1.5))
def test_mutated_exports(index, edits, cut):
    content = edited(seed("sqlite", index), edits)
    check(content[: int(len(content) * cut)] if cut < 0.8 else content, ".sqlite")


@QUIET
@given(index=st.integers(0, 3), edits=EDITS)
def test_mutated_profiler_traces(index, edits):
    check(edited(seed("json", index), edits), ".json")


WORDS = st.sampled_from(
    ["kernel", "cuda_runtime", "user_annotation", "cpu_op", "python_function", "nn.Module: A_0", "nn.Module: A_1", "X",
     "M", "ProfilerStep#1", "args", "correlation", "grid", "block", "ts", "dur", "tid", "pid", "cat", "ph", "name"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(WORDS, inside, max_size=3),
    max_leaves=6,
)
EVENTS = st.fixed_dictionaries(
    {
        "ph": st.just("X"),
        "cat": WORDS,
        "name": WORDS,
        "ts": st.integers(0, 50) | VALUES,
        "dur": st.integers(-1, 50) | VALUES,
    },
    optional={"pid": VALUES, "tid": st.integers(0, 2), "args": st.dictionaries(WORDS, st.integers(0, 3) | VALUES)},
)


@QUIET
@given(events=st.lists(EVENTS | VALUES, max_size=25))
def test_profiler_traces_of_any_events(events):
    import json

    check(json.dumps({"traceEvents": events}).encode("utf-8", "replace"), ".json")


def fuzz(kind, seconds):
    """Run atheris over mutated seeds."""
    import atheris

    atheris.instrument_all()

    def one(data):
        provider = atheris.FuzzedDataProvider(data)
        edits = [
            (provider.ConsumeProbability() % 1, provider.ConsumeBytes(8) or b"\0")
            for _ in range(provider.ConsumeIntInRange(1, 12))
        ]
        check(edited(seed(kind, provider.ConsumeIntInRange(0, 3)), edits), f".{kind}")

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2])
