"""What a clean copy of a recording keeps, from exports of a few rows."""

import contextlib
import json
import sqlite3

import pytest

from tests.trace.small_exports import PROCESS, SCHEMA, THREAD, SmallExport
from tracediff.capture.record.clean import clean_recording
from tracediff.capture.record.options import StepRange
from tracediff.errors import TracediffError
from tracediff.trace import read_trace

OWN, THEIRS = 1, 2
OTHER = PROCESS + (1 << 24)
WITH_PAYLOAD = SCHEMA.replace("domainId INTEGER)", "domainId INTEGER, int64Value INTEGER)")
EPOCH = 1_700_000_000_000_000_000


@pytest.fixture
def export():
    """An export with tracediff's domain and a library's, and every kind of secret there is a table for."""
    made = SmallExport(
        schema=WITH_PAYLOAD
        + "CREATE TABLE META_DATA_CAPTURE (name TEXT, value TEXT);"
        + "CREATE TABLE PROCESSES (globalPid INTEGER, name TEXT);"
        + "CREATE TABLE TARGET_INFO_SESSION_START_TIME (utcEpochNs INTEGER);"
    )
    made.add("META_DATA_CAPTURE", name="PROCESS_0:ENVIRONMENT_VARIABLE", value="TOKEN=secret-environment")
    made.add("PROCESSES", globalPid=PROCESS, name="secret-process")
    made.add("TARGET_INFO_SESSION_START_TIME", utcEpochNs=EPOCH)
    made.string("secret-string")
    for process in (PROCESS, OTHER):
        for domain, name in ((OWN, "tracediff"), (THEIRS, "server")):
            made.add("NVTX_EVENTS", start=0, eventType=75, text=name, globalTid=process + 42, domainId=domain)
    return made


def step(export, start, end, *, batch=1, tokens=1, name="Net", process=PROCESS):
    """Add a step with one kernel in it and one after it."""
    export.range(name, start, end, thread=process + 42, domainId=OWN, int64Value=batch << 32 | tokens)
    export.kernel(f"in {start}", start, start + 1, process=process)
    return export.kernel(f"after {start}", start + 1, end + 1, process=process)


def mark(export, text, time, *, domain=OWN, process=PROCESS):
    return export.add("NVTX_EVENTS", start=time, eventType=34, text=text, globalTid=process + 42, domainId=domain)


def cleaned(export, tmp_path, **bounds):
    """Return what the clean copy says of itself, and its connection."""
    path = export.write(tmp_path / "raw.sqlite")
    holds = clean_recording(path, tmp_path / "clean.sqlite", **bounds)
    return holds, contextlib.closing(sqlite3.connect(tmp_path / "clean.sqlite"))


def kernels(connection):
    rows = connection.execute(
        "SELECT value FROM CUPTI_ACTIVITY_KIND_KERNEL JOIN StringIds ON id = demangledName ORDER BY start"
    )
    return [name for (name,) in rows]


def texts(connection, kind=59):
    return [text for (text,) in connection.execute(f"SELECT text FROM NVTX_EVENTS WHERE eventType = {kind}")]


def test_everything_of_every_process_is_kept_where_nothing_bounds_it(export, tmp_path):
    step(step(export, 100, 200), 300, 400, batch=8, process=OTHER)
    export.range("their layer", 110, 120, domainId=THEIRS)
    holds, opened = cleaned(export, tmp_path)
    with opened as connection:
        assert kernels(connection) == ["in 100", "after 100", "in 300", "after 300"]
        assert texts(connection) == ["Net", "Net", "their layer"]
        assert texts(connection, 75) == ["tracediff", "server"] * 2
    assert (holds.kernels, holds.ranges, holds.own_ranges, holds.processes) == (4, 3, 2, 2)
    assert (holds.steps, holds.bounds) == ({"1x1": 1, "8x1": 1}, "program")


def test_no_secret_is_in_the_bytes(export, tmp_path):
    step(export, 100, 200)
    mark(export, "secret-mark", 110, domain=THEIRS)
    mark(export, "secret-own-mark", 110)
    cleaned(export, tmp_path)
    assert b"secret" not in (tmp_path / "clean.sqlite").read_bytes()


def test_payloads_of_other_domains_are_taken_out(export, tmp_path):
    export.range("theirs", 10, 20, domainId=THEIRS, int64Value=4242)
    step(export, 100, 200)
    _, opened = cleaned(export, tmp_path)
    with opened as connection:
        rows = connection.execute("SELECT text, int64Value FROM NVTX_EVENTS WHERE eventType = 59 ORDER BY start")
        assert rows.fetchall() == [("theirs", None), ("Net", (1 << 32) + 1)]


def test_algorithm_marks_of_ours_are_kept(export, tmp_path):
    mark(step(export, 100, 200), "cublasLtHSHMatmul algo=[algoId=66]", 101)
    mark(export, "cublas of somebody else's", 101, domain=THEIRS)
    holds, opened = cleaned(export, tmp_path)
    with opened as connection:
        assert texts(connection, 34) == ["cublasLtHSHMatmul algo=[algoId=66]"]
    assert holds.marks == 1


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("1:2", ["in 300", "after 300"]),
        ("1:", ["in 300", "after 300", "in 500", "after 500"]),
        (":1", ["in 100", "after 100"]),
        ("2:9", ["in 500", "after 500"]),
    ],
)
def test_a_step_reaches_to_the_next_one(export, tmp_path, steps, expected):
    for start in (100, 300, 500):
        step(export, start, start + 100)
    _, opened = cleaned(export, tmp_path, steps=StepRange.parse(steps))
    with opened as connection:
        assert kernels(connection) == expected


def test_steps_are_those_of_the_module_that_takes_longest(export, tmp_path):
    for start in (100, 300, 500):
        step(export, start, start + 100)
        step(export, start + 110, start + 115, name="Sampler")
    _, opened = cleaned(export, tmp_path, steps=StepRange.parse("1:2"))
    with opened as connection:
        assert kernels(connection) == ["in 300", "after 300", "in 410", "after 410"]


def test_each_process_counts_its_own_steps(export, tmp_path):
    for start in (100, 300):
        step(export, start, start + 100)
        step(export, start + 50, start + 150, process=OTHER)
    _, opened = cleaned(export, tmp_path, steps=StepRange.parse("1:2"))
    with opened as connection:
        assert kernels(connection) == ["in 300", "in 350", "after 300", "after 350"]


def test_steps_that_were_not_made_are_one_line(export, tmp_path):
    step(export, 100, 200)
    with pytest.raises(TracediffError, match="the program made 1 step, none of those in --steps"):
        cleaned(export, tmp_path, steps=StepRange.parse("5:6"))


def test_steps_without_a_torch_module_are_one_line(export, tmp_path):
    export.kernel("alone", 1, 20)
    with pytest.raises(TracediffError, match="called no torch module"):
        cleaned(export, tmp_path, steps=StepRange.parse("0:1"))


def test_the_programs_own_profiler_calls_bound_every_process(export, tmp_path):
    for start in (100, 300, 500):
        step(export, start, start + 50, process=OTHER)
    mark(mark(export, "cudaProfilerStart", 290), "cudaProfilerStop", 490)
    holds, opened = cleaned(export, tmp_path)
    with opened as connection:
        assert kernels(connection) == ["in 300", "after 300"]
        assert texts(connection) == ["Net"]
    assert holds.bounds == "cudaProfilerApi"


def test_everything_is_kept_where_the_programs_own_bounds_are_to_be_ignored(export, tmp_path):
    step(export, 100, 150)
    mark(mark(export, "cudaProfilerStart", 290), "cudaProfilerStop", 490)
    nothing, _ = cleaned(export, tmp_path)
    assert (nothing.is_empty, nothing.bounds) == (True, "cudaProfilerApi")
    (tmp_path / "clean.sqlite").unlink()
    holds = clean_recording(tmp_path / "raw.sqlite", tmp_path / "clean.sqlite", everything=True)
    assert (holds.kernels, holds.own_ranges, holds.bounds) == (2, 1, "program")


def test_a_profiler_that_is_never_stopped_bounds_the_beginning(export, tmp_path):
    for start in (100, 300):
        step(export, start, start + 50)
    mark(export, "cudaProfilerStart", 290)
    _, opened = cleaned(export, tmp_path)
    with opened as connection:
        assert kernels(connection) == ["in 300", "after 300"]


def test_signals_switch_keeping_on_and_off(export, tmp_path):
    for start in (100, 300, 500):
        step(export, start, start + 50)
    holds, opened = cleaned(export, tmp_path, switches=(EPOCH + 290, EPOCH + 480))
    with opened as connection:
        assert kernels(connection) == ["in 300", "after 300"]
    assert holds.bounds == "SIGUSR1"


def test_a_graph_captured_before_the_bounds_keeps_its_modules(export, tmp_path):
    step(export, 100, 200)
    export.range("layers.0", 110, 150, domainId=OWN)
    export.add("CUDA_GRAPH_NODE_EVENTS", start=120, end=121, eventClass=1, globalTid=THREAD, nameId=1, graphNodeId=77)
    export.range("early", 10, 20, domainId=THEIRS)
    export.call(50, 510).kernel("replayed", 50, None, start=515, graphNodeId=77)
    mark(mark(export, "cudaProfilerStart", 500), "cudaProfilerStop", 600)
    holds, opened = cleaned(export, tmp_path)
    with opened as connection:
        assert kernels(connection) == ["replayed"]
        assert texts(connection) == ["Net", "layers.0"]
    assert holds.steps == {}  # it was captured, and ran by replays alone
    table = read_trace(tmp_path / "clean.sqlite")
    assert [(key.phase, key.module) for key in table.keys] == [("Net", "layers.0")]


def test_the_summary_goes_into_a_manifest_as_it_is(export, tmp_path):
    import dataclasses

    holds, _ = cleaned(step(export, 100, 200), tmp_path)
    assert json.loads(json.dumps(dataclasses.asdict(holds)))["steps"] == {"1x1": 1}


def test_a_file_that_is_no_export_is_one_line(tmp_path):
    (tmp_path / "raw.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(TracediffError, match="cannot read nsys's export"):
        clean_recording(tmp_path / "raw.sqlite", tmp_path / "clean.sqlite")
