"""Range texts of other programs become names that two traces share."""

import pytest
from small_exports import DATA, PROCESS, THREAD, SmallExport, modules

from tracediff.errors import TracediffError
from tracediff.trace import Naming, read_trace
from tracediff.trace.naming import name_ranges


def names(*texts, **naming):
    return name_ranges(texts, [True] * len(texts), Naming(**naming)).of_text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("aten::mm, seq = 12, sizes = [[6, 4096], [4096, 4096]], op_id = 33", "aten::mm"),
        ("aten::linear, op_id = 7", "aten::linear"),
        ("{'Module': 'model.layers.3.mlp.down_proj', 'Inputs': [[1, 14336]]}", "model.layers.3.mlp.down_proj"),
        ('{"Module": "model.norm", "TrainableParams": {"weight": [4096]}}', "model.norm"),
        ("ProfilerStep#12", "ProfilerStep#"),
        ("execute_context_1(120)_generation_3(3)", "execute_context_#(#)_generation_#(#)"),
        ("[Executor] _forward_step 12: 0 ctx reqs, 4 gen reqs", "[Executor] _forward_step #: # ctx reqs, # gen reqs"),
        ("prefill b1", "prefill b#"),
        ("decode step=17", "decode step=#"),
        ("iteration 5", "iteration #"),
        ("batch_size 8", "batch_size #"),
        ("forward 128 tokens", "forward # tokens"),
        ("copy 0x7f00dead0000", "copy 0x#"),
    ],
)
def test_numbers_that_differ_between_runs_go(text, name):
    assert names(text) == [name]


@pytest.mark.parametrize(
    "text",
    ["model.layers.5.mlp", "layers[3]", "decode[0]", "replay 2", "Block[1].Mlp", "h.11", "forward-compute", "",
     "conv2d", "transformer/layers/0/attention/qkv", "TransformerLayer.forward", "b", "x = 3, y = 4", "{'Module': 5}"],
)  # fmt: skip
def test_numbers_that_name_things_stay(text):
    assert names(text) == [text]


def test_batch_sizes_stay_where_one_trace_holds_several():
    assert names("prefill b1", "prefill b2", "decode b4") == ["prefill b1", "prefill b2", "decode b#"]


def test_repeats_become_one_name():
    assert names("step 1", "step 2") == ["step #", "step #"]


def trace(tmp_path, batch):
    export = SmallExport().range(f"prefill b{batch}", 0, 100).range("model.layers.0", 10, 90).kernel("k", 1, 20)
    return export.write(tmp_path / f"b{batch}.sqlite")


def test_two_batch_sizes_have_the_same_keys_and_the_mapping_is_shown(tmp_path):
    one, two = read_trace(trace(tmp_path, 1)), read_trace(trace(tmp_path, 2))
    assert one.keys == two.keys
    assert one.notes == ("range texts read as names: prefill b1 → prefill b#",)


def test_repeated_steps_are_iterations_of_one_phase(tmp_path):
    export = SmallExport()
    for step in range(3):
        export.range(f"step {step}", step * 100, step * 100 + 90).kernel("k", step, step * 100 + 5)
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert table.iteration.tolist() == [0, 1, 2]
    assert len(table.keys) == 1


def test_users_patterns_choose_ranges_phases_and_layers(tmp_path):
    export = SmallExport().range("server", 0, 1000).range("run: generate", 5, 900).range("noise", 6, 800)
    export.range("L07/ffn", 10, 90).kernel("k", 1, 20)
    path = export.write(tmp_path / "t.sqlite")
    table = read_trace(path, Naming(range=r"^L\d", phase=r"run: (\w+)", layer=r"^L(\d+)"))
    assert [(key.phase, key.module, key.layer) for key in table.keys] == [("generate", "L07/ffn", 7)]
    assert any("do not match --range" in note for note in table.notes)


@pytest.mark.parametrize("naming", [{"range": "("}, {"phase": "*"}, {"layer": "no group"}, {"layer": "["}])
def test_what_is_no_pattern_is_refused(tmp_path, naming):
    with pytest.raises(TracediffError, match="--"):
        read_trace(trace(tmp_path, 1), Naming(**naming))


def test_logged_algorithms_keep_their_text():
    table = read_trace(DATA / "llama-two-blocks-b1.sqlite")
    assert all("algo=[" in text for text in table.algorithms)
    assert len(table.algorithms) == 16
    assert table.notes == ()


def test_range_that_ends_on_another_thread_holds_for_the_whole_process(tmp_path):
    export = SmallExport().range("request", 0, 100, eventType=60, endGlobalTid=THREAD + 1)
    export.range("mlp", 40, 60, thread=THREAD + 2)
    export.kernel("a", 1, 20, thread=THREAD + 2).kernel("b", 2, 50, thread=THREAD + 2)
    other = PROCESS + 0x1000000
    export.kernel("c", 3, 30, process=other)
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert modules(table) == [("a", "request", ""), ("c", None, ""), ("b", "mlp", "")]


def test_start_end_range_of_one_thread_nests_like_any(tmp_path):
    export = SmallExport().range("outer", 0, 100, eventType=60, endGlobalTid=THREAD).range("inner", 10, 50)
    table = read_trace(export.kernel("k", 1, 20).write(tmp_path / "t.sqlite"))
    assert modules(table) == [("k", "outer", "inner")]


def test_ranges_that_cross(tmp_path):
    export = SmallExport().range("a", 0, 50, eventType=60).range("b", 20, 90, eventType=60)
    for number, moment in enumerate((10, 30, 60, 95)):
        export.kernel(f"k{number}", number, moment)
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert modules(table) == [("k0", "a", ""), ("k1", "a", "b"), ("k2", "a", "b"), ("k3", None, "")]
