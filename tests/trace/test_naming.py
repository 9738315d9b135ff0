"""Range texts of other programs become names that two traces share."""

import pytest
from small_exports import DATA, PROCESS, THREAD, SmallExport, modules

from tracediff.errors import TracediffError
from tracediff.trace import Naming, read_trace
from tracediff.trace.naming import is_operator, name_ranges


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
        ("execute_context_0(0)_generation_3(3)", "execute_context_0(0)_generation_#(#)"),
        ("[Executor] _forward_step 12: 0 ctx reqs, 4 gen reqs", "[Executor] _forward_step #: 0 ctx reqs, # gen reqs"),
        ("forward max_query_len=1 kv_len=377", "forward max_query_len=# kv_len=#"),
        ("model forward [8, 4096]", "model forward [#]"),
        ("graph 8x4096 replay", "graph # replay"),
        ("request cmpl-0f8fad5b-d9cb-469f-a165-70867728950e", "request cmpl-#"),
        ("session deadbeefcafe0123deadbeefcafe0123", "session #"),
        ("prefill b1", "prefill b#"),
        ("decode step=17", "decode step=#"),
        ("iteration 5", "iteration #"),
        ("batch_size 8", "batch_size #"),
        ("forward 128 tokens", "forward # tokens"),
        ("Forward[bs=8,seq=160] ctx: 12", "Forward[bs=#,seq=#] ctx: #"),
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


def test_sizes_that_never_repeat_are_one_thing():
    assert names(*(f"decode kv_len={length}" for length in range(40, 48))) == ["decode kv_len=#"] * 8


def test_steps_with_prompts_and_steps_without_are_two_things():
    assert names("execute_context_1(40)_generation_0(0)", "execute_context_0(0)_generation_1(1)") == [
        "execute_context_#(#)_generation_0(0)",
        "execute_context_0(0)_generation_#(#)",
    ]


def compiled(tmp_path, name, *hashes):
    """A decode step that calls compiled graphs, each named by its hash."""
    export = SmallExport().range("decode", 0, 1000)
    for number, code in enumerate(hashes):
        export.range(f"## Call CompiledFxGraph {code} ##", 10 + 100 * number, 90 + 100 * number)
        export.kernel(f"triton_{number}", number + 1, 20 + 100 * number)
    return read_trace(export.write(tmp_path / f"{name}.sqlite"))


def test_compiled_graphs_pair_by_their_place_in_the_phase(tmp_path):
    one = compiled(tmp_path, "a", "fbq3w5s7a2k4m6n7p5r3t5v7x2z4b6d2f4h6j3l5n7q3s5u7w2y4", "fc2k4m6n7p5r3t5v7" * 3)
    two = compiled(tmp_path, "b", "fx7d5f3h2j4l6n7q5s3u5w7y2a4c6e3g5i7k2m4o6q3s5u7w2ybb", "fz5h3j2l4n6p7r5t3" * 3)
    assert [key.module for key in one.keys] == ["## Call CompiledFxGraph 0 ##", "## Call CompiledFxGraph 1 ##"]
    assert one.keys == two.keys


def test_compiled_graphs_that_are_phases_are_numbered_too(tmp_path):
    export = SmallExport()
    for number in range(2):
        export.range(f"Call CompiledFxGraph f{number + 2}{'abc234' * 8}", number * 100, number * 100 + 90)
        export.kernel("k", number + 1, number * 100 + 10)
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert [key.phase for key in table.keys] == ["Call CompiledFxGraph 0", "Call CompiledFxGraph 1"]


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
    assert any("do not match --range: 2 range texts" in note for note in table.notes)


@pytest.mark.parametrize("naming", [{"range": "("}, {"phase": "*"}, {"layer": "no group"}, {"layer": "["}])
def test_what_is_no_pattern_is_refused(tmp_path, naming):
    with pytest.raises(TracediffError, match="--"):
        read_trace(trace(tmp_path, 1), Naming(**naming))


def test_logged_algorithms_keep_their_text_but_for_pointers():
    table = read_trace(DATA / "llama-two-blocks-b1.sqlite")
    assert all("algo=[" in text for text in table.algorithms)
    assert len(table.algorithms) == len(set(table.algorithms)) == 6
    assert not any("0X" in text for text in table.algorithms)
    assert table.notes == ()


def test_range_that_ends_on_another_thread_holds_for_the_whole_process(tmp_path):
    export = SmallExport().range("request", 0, 100, eventType=60, endGlobalTid=THREAD + 1)
    export.range("mlp", 40, 60, thread=THREAD + 2)
    export.kernel("a", 1, 20, thread=THREAD + 2).kernel("b", 2, 50, thread=THREAD + 2)
    other = PROCESS + 0x1000000
    export.kernel("c", 3, 30, process=other)
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert modules(table) == [("a", "request", ""), ("c", None, ""), ("b", "mlp", "")]


def test_range_of_the_process_holds_though_several_threads_have_ranges_open(tmp_path):
    export = SmallExport().range("request", 0, 100, eventType=60, endGlobalTid=THREAD + 1)
    for thread in (THREAD + 3, THREAD + 4):
        export.range("busy", 0, 100, thread=thread)
    table = read_trace(export.kernel("a", 1, 20, thread=THREAD + 2).write(tmp_path / "t.sqlite"))
    assert modules(table) == [("a", "request", "")]


def test_of_several_threads_with_a_range_open_the_one_that_computes_counts(tmp_path):
    export = SmallExport().range("backward", 0, 100).range("next batch", 0, 100, thread=THREAD + 3)
    export.kernel("forward", 1, 10).kernel("gradient", 2, 20, thread=THREAD + 2)
    assert modules(read_trace(export.write(tmp_path / "t.sqlite"))) == [
        ("forward", "backward", ""),
        ("gradient", "backward", ""),
    ]


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


@pytest.mark.parametrize(
    "name", ["aten::mm", "aten::mm.out", "vllm::unified_attention", "MmBackward0", "torch::autograd::AccumulateGrad"]
)
def test_operators_are_told_from_modules(name):
    assert is_operator(name)
    assert not is_operator(f"model.{name}")
    assert not is_operator("model.layers.0.mlp")
    assert not is_operator("server::Decoder::step")


def test_an_operator_inside_a_modules_range_leaves_the_module_its_kernels(tmp_path):
    export = SmallExport().range("prefill", 0, 1000).range("model.layers.3.mlp", 10, 500)
    export.range("aten::linear, op_id = 1", 20, 100).range("aten::mm, op_id = 2", 30, 90).kernel("a", 1, 40)
    export.range("aten::add, op_id = 3", 600, 700).kernel("b", 2, 610)
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert modules(table) == [("a", "prefill", "model.layers.3.mlp"), ("b", "prefill", "aten::add")]
    assert table.keys[0].layer == 3


@pytest.mark.parametrize(
    ("patterns", "unmatched"),
    [
        ({"range": "zzz"}, ("--range 'zzz'",)),
        ({"phase": "zzz", "range": "y"}, ("--range 'y'", "--phase-range 'zzz'")),
        ({"range": "mlp"}, ()),
        ({"phase": "step"}, ()),
        ({}, ()),
    ],
)
def test_patterns_that_match_no_range_are_told(patterns, unmatched):
    texts = ("step", "mlp", "a mark zzz")
    assert name_ranges(texts, [True, True, False], Naming(**patterns)).unmatched == unmatched
    # Of a trace without ranges no pattern can be wrong.
    assert name_ranges(texts, [False] * 3, Naming(**patterns)).unmatched == ()
