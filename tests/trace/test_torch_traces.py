"""PyTorch profiler traces of an H200 (torch-gpu-…) and a CPU (torch-cpu-…), made by scripts/make_torch_traces.py."""

import gzip
import json

import pytest
from small_exports import DATA, modules

from tracediff.errors import TracediffError
from tracediff.trace import read_trace

GPU = sorted(DATA.glob("torch-gpu-*.json.gz"))


def events_of(path):
    return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def kernels_of(path):
    """Return the trace's kernels in order of launch, the slow way."""
    events = events_of(path)
    calls = {
        event["args"]["correlation"]: event
        for event in events
        if event.get("cat") in ("cuda_runtime", "cuda_driver") and event["ph"] == "X"
    }
    kernels = [event for event in events if event.get("cat") == "kernel"]
    return sorted(
        ((event, calls.get(event["args"]["correlation"])) for event in kernels),
        key=lambda pair: (pair[1]["ts"], pair[0]["ts"]),
    )


def write(path, events, **head):
    path.write_text(json.dumps({**head, "traceEvents": events}))
    return path


def event(cat, name, ts, dur=10, *, tid=1, **args):
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": tid, "ts": ts, "dur": dur, "args": args}


def launched(name, correlation, ts, **args):
    arguments = {"correlation": correlation, "device": 0, "stream": 7, "grid": [2, 3, 4], "block": [32, 1, 1]}
    return [
        event("kernel", name, ts + 5, 3, **{**arguments, **args}),
        event("cuda_runtime", "cudaLaunchKernel", ts, 2, correlation=correlation),
    ]


@pytest.mark.parametrize("path", GPU, ids=lambda path: path.name)
def test_every_kernel_is_there_with_its_launch_configuration(path):
    expected = kernels_of(path)
    table = read_trace(path)
    assert [table.names[code] for code in table.name] == [kernel["name"] for kernel, _ in expected]
    assert table.grid.tolist() == [kernel["args"]["grid"] for kernel, _ in expected]
    assert table.block.tolist() == [kernel["args"]["block"] for kernel, _ in expected]
    assert table.registers.tolist() == [kernel["args"]["registers per thread"] for kernel, _ in expected]
    assert table.shared_memory_bytes.tolist() == [kernel["args"]["shared memory"] for kernel, _ in expected]
    assert table.duration_ns.tolist() == [round(kernel["dur"] * 1000) for kernel, _ in expected]
    assert table.launch_ns.tolist() == [round(call["ts"] * 1000) for _, call in expected]
    assert (table.info.profiler, table.info.gpu, table.info.sm_count) == ("torch", "NVIDIA H200", 132)


@pytest.mark.parametrize("batch", [1, 2])
def test_kernels_belong_to_the_innermost_annotation_around_their_launch(batch):
    path = DATA / f"torch-gpu-ranges-b{batch}.json.gz"
    annotations = [each for each in events_of(path) if each.get("cat") == "user_annotation"]
    expected = []
    for kernel, call in kernels_of(path):
        around = [each for each in annotations if each["ts"] <= call["ts"] < each["ts"] + each["dur"]]
        around.sort(key=lambda each: -each["dur"])
        texts = [each["name"] for each in around]
        expected.append((kernel["name"], texts[0], texts[-1] if len(texts) > 1 else ""))
    assert modules(read_trace(path)) == expected


def test_layers_come_from_the_ranges():
    table = read_trace(DATA / "torch-gpu-ranges-b1.json.gz")
    assert {key.layer for key in table.keys} == {None, 0, 1} - {None}
    assert table.coverage.in_module == len(table) == 38


def test_modules_come_from_the_python_stack():
    table = read_trace(DATA / "torch-gpu-modules-b1.json.gz")
    named = {(key.phase, key.module, key.layer) for key in table.keys}
    assert ("Decoder", "Decoder.Block[0].Attention.Linear[3]", 0) in named
    assert ("Decoder", "Decoder.Block[1].Mlp.Linear[0]", 1) in named
    assert ("Decoder", "Decoder.Block[1].RMSNorm[1]", 1) in named
    assert table.coverage.in_module == len(table)


def test_both_sources_of_modules_agree_on_the_kernels_of_each():
    by_range = read_trace(DATA / "torch-gpu-ranges-b1.json.gz")
    by_stack = read_trace(DATA / "torch-gpu-modules-b1.json.gz")
    renamed = {"q_proj": "Attention.Linear[0]", "o_proj": "Attention.Linear[3]", "down_proj": "Mlp.Linear[2]"}
    for block in (0, 1):
        for ours, theirs in renamed.items():
            by_name = [
                k
                for k, _, module in modules(by_range)
                if module.endswith(f"{block}.self_attn.{ours}") or module.endswith(f"{block}.mlp.{ours}")
            ]
            by_class = [k for k, _, module in modules(by_stack) if module == f"Decoder.Block[{block}].{theirs}"]
            assert by_name == by_class != []


def test_without_ranges_kernels_stand_outside_all_of_them():
    table = read_trace(DATA / "torch-gpu-plain-b1.json.gz")
    assert table.coverage.outside_ranges == len(table) == 38


def test_kernels_of_a_graph_belong_to_the_replay_and_the_table_says_why():
    table = read_trace(DATA / "torch-gpu-graph-b1.json.gz")
    replayed = [phase for _, phase, _ in modules(table) if phase == "replay"]
    assert len(replayed) == 76
    assert any("CUDA graphs" in note and "76" in note for note in table.notes)


def test_a_trace_of_the_cpu_alone_holds_operators_and_says_so():
    table = read_trace(DATA / "torch-cpu-ranges-b1.json.gz")
    found = modules(table)
    assert ("aten::mm", "prefill", "model.layers.0.mlp.down_proj") in found
    assert not {"aten::linear", "aten::view"} & {name for name, _, _ in found}
    assert any("no GPU kernels" in note for note in table.notes)
    assert (table.duration_ns > 0).all()


def test_plain_json_reads_like_gzipped(tmp_path):
    source = DATA / "torch-gpu-ranges-b1.json.gz"
    plain = tmp_path / "trace.json"
    plain.write_bytes(gzip.decompress(source.read_bytes()))
    assert modules(read_trace(plain)) == modules(read_trace(source))


def test_bare_list_of_events(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(launched("k", 1, 100)))
    assert modules(read_trace(path)) == [("k", None, "")]


def test_ranges_of_another_thread_are_used_when_only_one_thread_has_any(tmp_path):
    events = [event("user_annotation", "step", 0, 1000), *launched("k", 1, 100)]
    events[-1]["tid"] = 2
    table = read_trace(write(tmp_path / "t.json", events))
    assert modules(table) == [("k", "step", "")]
    assert table.coverage.from_other_threads == 1


@pytest.mark.parametrize("bad", [None, "x", [], {}, True, float("inf"), float("nan"), 1e300, -1e300, 2**70])
@pytest.mark.parametrize("field", ["ts", "dur", "name", "args", "cat", "pid", "tid", "ph"])
def test_no_value_of_an_event_brings_the_reader_down(tmp_path, bad, field):
    events = [*launched("good", 1, 50), *launched("bad", 2, 100), event("user_annotation", "r", 0, 500)]
    for changed in events[2:]:
        changed[field] = bad
    table = read_trace(write(tmp_path / "t.json", events))
    assert "good" in table.names


@pytest.mark.parametrize("bad", [None, "x", [1], [1, 2, 3, 4], [None, "y", {}], {"a": 1}, -5, 2**80, 1.5])
@pytest.mark.parametrize("field", ["grid", "block", "correlation", "device", "stream", "registers per thread"])
def test_no_argument_of_a_kernel_brings_the_reader_down(tmp_path, bad, field):
    events = [*launched("good", 1, 50), *launched("bad", 2, 100)]
    events[2]["args"][field] = bad
    assert len(read_trace(write(tmp_path / "t.json", events))) == 2


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("compressed", [True, False])
def test_trace_cut_short(tmp_path, share, compressed):
    content = (DATA / "torch-gpu-plain-b1.json.gz").read_bytes()
    content = content if compressed else gzip.decompress(content)
    path = tmp_path / "t.json"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(TracediffError, match="damaged or cut short"):
        read_trace(path)


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"[",
        b"[1, 2",
        b'{"a": 1}',
        b'{"traceEvents": 5}',
        b'{"traceEvents": [}',
        b'{"traceEvents": []}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"traceEvents": [' + b"[" * 100_000,
        gzip.compress(b"hello"),
        b"\x1f\x8bxx",
        b'{"traceEvents": [\xff\xfe',
    ],
    ids=range(13),
)
def test_what_is_no_torch_trace_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(TracediffError) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)


def test_a_compressed_bomb_is_not_held_in_memory(tmp_path):
    path = tmp_path / "t.json.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"traceEvents": [')
        for _ in range(80):
            file.write(b" " * (1 << 20))
        file.write(json.dumps(launched("k", 1, 100)).encode()[1:] + b"}")
    assert len(read_trace(path)) == 1
