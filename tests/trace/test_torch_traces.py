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


def test_malformed_fields_are_said_and_read_as_missing(tmp_path):
    events = [*launched("good", 1, 50), *launched("bad", 2, 100), *launched("timeless", 3, 200)]
    events[2]["args"]["grid"] = [1, 2**40, 1]
    events[4]["ts"] = 10**400
    table = read_trace(write(tmp_path / "t.json", events))
    assert [table.names[code] for code in table.name] == ["good", "bad"]
    assert table.grid.tolist() == [[2, 3, 4], [0, 0, 0]]
    assert table.block.tolist() == [[32, 1, 1], [32, 1, 1]]
    assert any("malformed fields, which read as missing: 2" in note and "$.args.grid" in note for note in table.notes)
    assert any("without a usable time, left out: 1" in note for note in table.notes)


def test_what_nobody_asks_for_may_be_malformed(tmp_path):
    others = [
        event("python_function", "f", "now", correlation="x"),
        {"ph": "M", "name": 3, "args": {"grid": "no"}},
        7,
        "x",
    ]
    others.append([{"ph": "X", "cat": "kernel", "name": "inside", "ts": 1}])
    table = read_trace(write(tmp_path / "t.json", [*others, *launched("k", 1, 50), *others]))
    assert len(table) == 1
    assert not any("malformed" in note for note in table.notes)


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("name", ["plain", "}, {", '"}, {"ph": "X"', "\\", 'a\\"}, {', "größe", "a\x00b"])
def test_wherever_a_batch_is_cut_the_events_are_the_same(tmp_path, monkeypatch, size, name):
    events = [each for number in range(30) for each in launched(f"{name}{number}", number, number * 50)]
    for number, each in enumerate(events):
        each["args"]["nested"] = [{"a": name}, {"b": [{}, {"traceEvents": number}]}]
    path = write(tmp_path / "t.json", events, before={"traceEvents": [1, {"x": name}]})
    path.write_text(
        path.read_text()[:-1] + ', "after": [{"a": 1}, {"ph": "X", "cat": "kernel", "ts": 1, "name": "no"}]}'
    )
    monkeypatch.setattr("tracediff.trace.json_events._CHUNK", size)
    table = read_trace(path)
    assert [table.names[code] for code in table.name] == [f"{name}{number}" for number in range(30)]


def test_names_that_no_encoding_can_write_read_as_replacement_characters(tmp_path):
    path = tmp_path / "t.json"
    text = json.dumps({"traceEvents": launched("a", 1, 50)}).replace('"a"', '"a\\ud800"')
    path.write_bytes(text.encode().replace(b"cudaLaunchKernel", b"cuda\xff"))
    assert read_trace(path).names == ("a\ufffd",)


@pytest.mark.parametrize("damage", ['{"ph": }', '{"a": [1}', "nonsense", '"open'])
def test_damage_between_or_in_events_is_one_line(tmp_path, damage):
    path = tmp_path / "t.json"
    first, second = (json.dumps(launched(name, 1, 50))[1:-1] for name in "ab")
    path.write_text(f'{{"traceEvents": [{first}, {damage}, {second}]}}')
    with pytest.raises(TracediffError, match="damaged"):
        read_trace(path)


@pytest.mark.parametrize("between", ["", " " * (3 << 20)])
def test_a_second_list_of_events_is_not_lost_in_silence(tmp_path, between):
    path = tmp_path / "t.json"
    first, second = (json.dumps({"traceEvents": launched(name, 1, 50)})[1:-1] for name in "ab")
    path.write_text(f'{{{first}, "traceName": "say \\"traceEvents\\": []"}}')
    assert read_trace(path).names == ("a",)
    path.write_text(f"{{{first},{between}{second}}}")
    with pytest.raises(TracediffError, match="holds two lists of events"):
        read_trace(path)


def test_a_compressed_file_is_checked_to_its_end(tmp_path):
    path = tmp_path / "t.json.gz"
    content = bytearray(gzip.compress(json.dumps({"traceEvents": launched("a", 1, 50)}).encode()))
    content[-8] ^= 1  # of its checksum
    path.write_bytes(content)
    with pytest.raises(TracediffError, match="damaged or cut short"):
        read_trace(path)


def test_a_compressed_file_that_unpacks_without_end_is_refused_and_the_limit_is_the_users(tmp_path, monkeypatch):
    path = tmp_path / "t.json.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"traceEvents": [' + b" " * (40 << 20))
        file.write(json.dumps(launched("k", 1, 100)).encode()[1:] + b"}")
    monkeypatch.setenv("TRACEDIFF_MAX_UNPACKED_MB", "10")
    with pytest.raises(
        TracediffError, match="times its size: if it is meant to, unpack it first or set TRACEDIFF_MAX_U"
    ):
        read_trace(path)
    monkeypatch.setenv("TRACEDIFF_MAX_UNPACKED_MB", "100")
    assert len(read_trace(path)) == 1
    monkeypatch.setenv("TRACEDIFF_MAX_UNPACKED_MB", "much")
    with pytest.raises(TracediffError, match="not a number of megabytes"):
        read_trace(path)


def test_an_event_of_any_length_is_refused_and_the_limit_is_the_users(tmp_path, monkeypatch):
    path = write(tmp_path / "t.json", [*launched("k", 1, 50), *launched("n" * (3 << 20), 2, 100)])
    monkeypatch.setenv("TRACEDIFF_MAX_EVENT_MB", "1")
    with pytest.raises(TracediffError, match="longer than 1 MB: if it is meant to, set TRACEDIFF_MAX_EVENT_MB"):
        read_trace(path)
    monkeypatch.setenv("TRACEDIFF_MAX_EVENT_MB", "4")
    assert len(read_trace(path)) == 2


def test_names_together_are_limited_and_the_limit_is_the_users(tmp_path, monkeypatch):
    events = [each for number in range(20) for each in launched(f"{number}" * 100_000, number, number * 50)]
    path = write(tmp_path / "t.json", events)
    monkeypatch.setenv("TRACEDIFF_MAX_TEXTS_MB", "1")
    with pytest.raises(
        TracediffError, match="longer than 1 MB together: if they are meant to be, set TRACEDIFF_MAX_TEXTS"
    ):
        read_trace(path)
    monkeypatch.delenv("TRACEDIFF_MAX_TEXTS_MB")
    assert len(read_trace(path)) == 20


def test_ranges_of_old_profilers_have_the_category_of_operators(tmp_path):
    events = [
        event("Operator", "ProfilerStep#3", 0, 500),
        event("Operator", "Optimizer.step#SGD.step", 10, 300),
        event("Operator", "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", 400, 90),
        event("Operator", "aten::mm", 20, 200),
        *launched("first", 1, 50),
        *launched("second", 2, 420),
    ]
    for each in events[4:]:
        each["cat"] = {"kernel": "Kernel", "cuda_runtime": "Runtime"}[each["cat"]]
    assert modules(read_trace(write(tmp_path / "t.json", events))) == [
        ("first", "ProfilerStep#", "Optimizer.step#SGD.step"),
        ("second", "ProfilerStep#", "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"traceEvents": [{"ph": "X", "name": "loop_add_fusion", "args": {"hlo_op": "add.1"}}]}', "JAX or TensorFlow"),
        ('{"traceEvents": [{"cat": "devtools.timeline", "ph": "X", "ts": 1}]}', "a recording of a web browser"),
        ('{"Type":79,"CudaEvent":{"startNs":"1"}}', "an nsys JSON export"),
        ('{"schema": 1, "prompt_tokens": [1]}', "manifest of a capture"),
        ('{"some": "thing"}', "JSON, but not a PyTorch profiler trace"),
    ],
)
def test_json_of_another_kind_is_named(tmp_path, text, says):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(TracediffError, match=says):
        read_trace(path)


@pytest.mark.parametrize(
    ("content", "says"), [(b"SQLite format 3\0", "is a compressed SQLite database"), (b"tar", "compressed")]
)
def test_a_compressed_file_of_another_kind_is_named(tmp_path, content, says):
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(TracediffError, match=says):
        read_trace(path)


def test_a_malformed_description_of_the_device_is_said(tmp_path):
    path = write(tmp_path / "t.json", launched("k", 1, 50), deviceProperties=[{"name": 3, "numSms": "many"}])
    table = read_trace(path)
    assert table.info.gpu is None
    assert any("device and versions is malformed" in note for note in table.notes)


def test_lone_surrogates_before_the_events_are_no_trouble(tmp_path):
    path = write(
        tmp_path / "t.json", launched("k", 1, 50), **{"a\ud800": "b\udfff", "deviceProperties": [{"name": "\ud800"}]}
    )
    assert read_trace(path).info.gpu == "\ufffd"


@pytest.mark.parametrize("inside", ["[", '{"a": ', '[{"a": '])
def test_nesting_without_end_is_damage_at_once(tmp_path, inside):
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents": [' + inside * 300_000)
    with pytest.raises(TracediffError, match="damaged"):
        read_trace(path)
