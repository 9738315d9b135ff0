"""A clean copy of a torch trace holds the kernels, launches and own ranges, and no byte of anything else."""

import gzip
import json

import pytest

from tests.trace.small_exports import DATA
from tracediff.capture.scrub import OwnRangesMissingError
from tracediff.capture.torch_scrub import scrub_torch
from tracediff.errors import TracediffError
from tracediff.trace import read_trace

SECRETS = {
    place: f"sEcReT-{place}-0f8a"
    for place in (
        *("host_name", "trace_name", "distributed", "device_uuid", "unknown_head", "tail", "process_name"),
        *("thread_name", "labels", "foreign_range", "foreign_gpu_range", "call_stack", "python_function"),
        *("operator_argument", "operator_name", "kernel_argument", "kernel_key", "call_argument", "range_argument"),
        *("span", "instant", "unknown_category"),
    )
}


def raw_trace(path, source):
    """Write what torch's profiler would have of a run inside our ranges, with a secret in every place for one."""
    trace = json.loads(gzip.decompress((DATA / source).read_bytes()))
    events = trace["traceEvents"]
    for event in events:
        category = event.get("cat")
        if category == "user_annotation":
            event["name"] = f"tracediff/{event['name']}"
            event.setdefault("args", {})["Note"] = SECRETS["range_argument"]
        elif category == "kernel":
            event["args"]["path"] = SECRETS["kernel_argument"]
            event["file"] = SECRETS["kernel_key"]
        elif category in ("cuda_runtime", "cuda_driver"):
            event["args"]["Call stack"] = SECRETS["call_argument"]
        elif category == "cpu_op":
            event.setdefault("args", {})["Call stack"] = SECRETS["call_stack"]
            event["args"]["Concrete Inputs"] = [SECRETS["operator_argument"]]
    timed = [event for event in events if event["ph"] == "X" and event.get("cat") in ("user_annotation", "cpu_op")]
    begin, thread = timed[0]["ts"] - 100, {"pid": timed[0]["pid"], "tid": timed[0]["tid"]}
    length = max(event["ts"] + event["dur"] for event in timed) - begin + 100
    span = {"ph": "X", **thread, "ts": begin, "dur": length}
    added = [
        {**span, "cat": "user_annotation", "name": "tracediff/run"},
        {**span, "cat": "user_annotation", "name": SECRETS["foreign_range"]},
        {**span, "cat": "gpu_user_annotation", "name": SECRETS["foreign_gpu_range"]},
        {**span, "cat": "cpu_op", "name": f"/home/{SECRETS['operator_name']}::x y"},
        {**span, "cat": "python_function", "name": SECRETS["python_function"]},
        {**span, "cat": "Trace", "name": SECRETS["span"]},
        {**span, "cat": SECRETS["unknown_category"], "name": "x"},
        {"ph": "M", **thread, "name": "process_name", "args": {"name": SECRETS["process_name"]}},
        {"ph": "M", **thread, "name": "thread_name", "args": {"name": SECRETS["thread_name"]}},
        {"ph": "M", **thread, "name": "process_labels", "args": {"labels": SECRETS["labels"]}},
        {"ph": "i", **thread, "ts": begin, "name": SECRETS["instant"]},
    ]
    for device in trace["deviceProperties"]:
        device["uuid"] = SECRETS["device_uuid"]
    head = {key: value for key, value in trace.items() if key != "traceEvents"}
    head |= {"host_name": SECRETS["host_name"], "unknown": SECRETS["unknown_head"]}
    head["distributedInfo"] = {"host": SECRETS["distributed"]}
    tail = {"traceName": SECRETS["trace_name"], "more": SECRETS["tail"]}
    path.write_text(json.dumps({**head, "traceEvents": [*added, *events], **tail}))
    return path


@pytest.mark.parametrize("source", ["torch-gpu-ranges-b1.json.gz", "torch-cpu-ranges-b1.json.gz"])
def test_no_secret_of_any_place_is_in_the_bytes(tmp_path, source):
    raw = raw_trace(tmp_path / "b1.repeat1.json", source)
    scrub_torch(raw, tmp_path / "clean.json.gz")
    written = (tmp_path / "clean.json.gz").read_bytes()
    told = raw.read_text()
    for place, secret in SECRETS.items():
        only_gpu = place in ("device_uuid", "kernel_argument", "kernel_key", "call_argument")
        assert secret in told or (only_gpu and "cpu" in source), f"{place} was never planted"
        for content in (written, gzip.decompress(written)):
            assert secret.encode() not in content, place
    assert b"clean" not in written, "gzip stores file names"
    assert written[4:8] == bytes(4), "gzip stores the time"


def test_process_and_thread_ids_of_the_system_are_replaced(tmp_path):
    raw = raw_trace(tmp_path / "raw.json", "torch-gpu-ranges-b1.json.gz")
    scrub_torch(raw, tmp_path / "clean.json.gz")
    trace = json.loads(gzip.decompress((tmp_path / "clean.json.gz").read_bytes()))
    assert {(event["pid"], event["tid"]) for event in trace["traceEvents"]} == {(1000, 1), (0, 7)}


@pytest.mark.parametrize("batch", [1, 2])
def test_the_kernel_table_of_the_copy_is_that_of_the_original(tmp_path, batch):
    source = f"torch-gpu-ranges-b{batch}.json.gz"
    counts = scrub_torch(raw_trace(tmp_path / "raw.json", source), tmp_path / "clean.json.gz")
    original, copy = read_trace(DATA / source), read_trace(tmp_path / "clean.json.gz")
    assert (counts.kernels, counts.marks) == (len(original), 0)
    assert [copy.names[code] for code in copy.name] == [original.names[code] for code in original.name]
    for column in ("grid", "block", "registers", "shared_memory_bytes", "launch_ns", "start_ns", "duration_ns"):
        assert (getattr(copy, column) == getattr(original, column)).all(), column
    assert [copy.keys[code] for code in copy.key] == [original.keys[code] for code in original.key]
    assert (copy.info.gpu, copy.info.sm_count) == (original.info.gpu, original.info.sm_count)


def test_phases_are_found_inside_the_range_of_the_run(tmp_path):
    scrub_torch(raw_trace(tmp_path / "raw.json", "torch-gpu-ranges-b1.json.gz"), tmp_path / "clean.json.gz")
    table = read_trace(tmp_path / "clean.json.gz")
    assert {key.phase for key in table.keys} == {"prefill"}
    assert table.coverage.in_module == len(table)


def test_operators_stand_in_for_kernels_only_where_there_are_none(tmp_path):
    for kind in ("cpu", "gpu"):
        scrub_torch(raw_trace(tmp_path / f"{kind}.json", f"torch-{kind}-ranges-b1.json.gz"), tmp_path / f"{kind}.gz")
    on_cpu, on_gpu = (gzip.decompress((tmp_path / f"{kind}.gz").read_bytes()) for kind in ("cpu", "gpu"))
    assert b"aten::mm" in on_cpu
    assert b"aten::mm" not in on_gpu


def test_a_recording_without_its_own_ranges_is_noticed(tmp_path):
    raw = tmp_path / "raw.json"
    raw.write_bytes(gzip.decompress((DATA / "torch-gpu-ranges-b1.json.gz").read_bytes()))
    with pytest.raises(OwnRangesMissingError):
        scrub_torch(raw, tmp_path / "clean.json.gz")
    assert not (tmp_path / "clean.json.gz").exists()


@pytest.mark.parametrize("event", [{}, {"cat": "kernel"}, {"cat": "kernel", "args": 3}, {"cat": ["x"]}, {"name": 7}])
def test_no_event_brings_the_copy_down(tmp_path, event):
    run = {"ph": "X", "cat": "user_annotation", "name": "tracediff/run", "ts": 1, "dur": 5, "pid": 1, "tid": 1}
    raw = tmp_path / "raw.json"
    raw.write_text(json.dumps({"deviceProperties": ["x"], "traceEvents": [run, {"ph": "X", "name": "k", **event}]}))
    assert scrub_torch(raw, tmp_path / "clean.json.gz").ranges == 1


def test_a_copy_never_replaces_a_file(tmp_path):
    (tmp_path / "clean.json.gz").write_text("mine")
    with pytest.raises(TracediffError, match="exists"):
        scrub_torch(raw_trace(tmp_path / "raw.json", "torch-gpu-ranges-b1.json.gz"), tmp_path / "clean.json.gz")
