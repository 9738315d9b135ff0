"""Kernels of replayed CUDA graphs belong to what was captured, in the phase that replays it."""

import sqlite3
from collections import Counter

import pytest
from small_exports import DATA, PROCESS, THREAD, SmallExport, modules

from tracediff.errors import TracediffError
from tracediff.trace import read_trace

GRAPH = DATA / "cuda-graph-b1.sqlite"


def test_replayed_kernels_of_a_real_graph_stand_in_the_layers_that_were_captured():
    table = read_trace(GRAPH)
    replayed = Counter((phase, module) for _, phase, module in modules(table) if phase and phase.startswith("replay"))
    # A linear layer with split-K is two kernels, its activation one.
    assert replayed == {(f"replay {replay}", f"layers.{layer}"): 3 for replay in range(3) for layer in range(6)}
    assert table.coverage.captured == 54
    assert {key.layer for key in table.keys if key.phase and key.phase.startswith("replay")} == set(range(6))


def test_a_replay_launches_what_the_warm_up_did():
    table = read_trace(GRAPH)
    by_layer = {}
    for index, (name, phase, module) in enumerate(modules(table)):
        if phase == "layers.2" and table.iteration[index] == 2:
            by_layer.setdefault("warm", []).append(name)
        if (phase, module) == ("replay 1", "layers.2"):
            by_layer.setdefault("replayed", []).append(name)
    assert by_layer["warm"] == by_layer["replayed"] != []


def graph(*nodes, kernels=(1,)):
    """A capture in `capture`/`mlp` at 10…20, a replay in `decode`, and node events (node, original, time)."""
    export = SmallExport().range("capture", 0, 50).range("mlp", 10, 20).range("decode", 100, 200)
    for node, original, time in nodes:
        export.add("CUDA_GRAPH_NODE_EVENTS", start=time, end=time, eventClass=77, globalTid=THREAD, nameId=1,
                   graphNodeId=node, originalGraphNodeId=original)  # fmt: skip
    export.call(7, 150)
    for node in kernels:
        export.kernel(f"k{node}", 7, None, start=160 + node, graphNodeId=node)
    return export


@pytest.mark.parametrize(
    "nodes",
    [
        [(1, None, 15)],
        [(1, 2, 30), (2, None, 15)],
        [(1, 2, 60), (2, 3, 40), (3, 4, 30), (4, None, 15)],
        [(1, None, 70), (1, 2, 71), (2, None, 15)],
    ],
)
def test_copies_lead_to_the_capture(tmp_path, nodes):
    table = read_trace(graph(*nodes).write(tmp_path / "t.sqlite"))
    assert modules(table) == [("k1", "decode", "mlp")]


@pytest.mark.parametrize(
    "nodes",
    [[(1, 1, 15)], [(1, 2, 15), (2, 1, 15)], [(1, 2, 15), (2, 3, 15), (3, 2, 15)], [(1, 99, 15)], [(5, None, 15)]],
)
def test_chains_that_end_nowhere_leave_kernels_with_the_replay(tmp_path, nodes):
    table = read_trace(graph(*nodes).write(tmp_path / "t.sqlite"))
    assert modules(table) == [("k1", "decode", "")]
    assert any("captured before the recording began" in note for note in table.notes)


def test_a_long_chain_of_copies(tmp_path):
    count = 3000
    nodes = [(node, node + 1 if node < count else None, 15) for node in range(1, count + 1)]
    table = read_trace(graph(*nodes).write(tmp_path / "t.sqlite"))
    assert modules(table) == [("k1", "decode", "mlp")]


def test_kernels_of_one_graph_stand_in_the_order_of_capture(tmp_path):
    # Branches of a graph run in any order; the capture says what the module's sequence is.
    table = read_trace(graph((1, None, 17), (2, None, 11), kernels=(1, 2)).write(tmp_path / "t.sqlite"))
    assert modules(table) == [("k2", "decode", "mlp"), ("k1", "decode", "mlp")]


def test_a_capture_outside_every_range_leaves_the_replay(tmp_path):
    table = read_trace(graph((1, None, 60)).write(tmp_path / "t.sqlite"))
    assert modules(table) == [("k1", "decode", "")]


def test_a_replay_outside_every_range_takes_phase_and_module_of_the_capture(tmp_path):
    export = graph((1, None, 15))
    export.rows["CUPTI_ACTIVITY_KIND_RUNTIME"][0]["start"] = 500
    assert modules(read_trace(export.write(tmp_path / "t.sqlite"))) == [("k1", "capture", "mlp")]


def test_a_capture_in_the_phase_that_replays_it_names_no_module(tmp_path):
    export = graph((1, None, 5)).range("capture", 300, 400)
    export.rows["CUPTI_ACTIVITY_KIND_RUNTIME"][0]["start"] = 350
    assert modules(read_trace(export.write(tmp_path / "t.sqlite"))) == [("k1", "capture", "")]


def replayed_blocks(captured_in):
    """A model of eight blocks, captured in one range or a range per block, and replayed twice in a range each."""
    names = ["rms_norm", "nvjet_hsh_64x8_64x16_4x1_v_bz_TNT", "flash_fwd_kernel", "nvjet_hsh_64x16_64x16_4x1_v_bz_TNT"]
    export, node = SmallExport(), 0
    for block in range(8):
        export.range(captured_in.format(block), 100 * block, 100 * block + 99)
        for _ in names:
            node += 1
            export.add("CUDA_GRAPH_NODE_EVENTS", start=100 * block + node % 90, end=0, eventClass=77, globalTid=THREAD,
                       nameId=1, graphNodeId=node, originalGraphNodeId=None)  # fmt: skip
    if "{" not in captured_in:
        export.rows["NVTX_EVENTS"] = []
        export.range(captured_in, 0, 900)
    for replay in (1, 2):
        export.range("decode", 10_000 * replay, 10_000 * replay + 5_000).call(replay, 10_000 * replay + 10)
        for number in range(node):
            start = 10_000 * replay + 100 + number
            export.kernel(names[number % 4], replay, None, start=start, graphNodeId=number + 1)
    return export


def test_a_range_around_a_whole_capture_does_not_hide_the_blocks_inside(tmp_path):
    table = read_trace(replayed_blocks("capture").write(tmp_path / "t.sqlite"))
    found = Counter((table.keys[code].phase, table.keys[code].layer) for code in table.key.tolist())
    assert found == {("decode", layer): 8 for layer in range(8)}


def test_ranges_around_the_parts_of_a_capture_name_them(tmp_path):
    table = read_trace(replayed_blocks("layers.{}").write(tmp_path / "t.sqlite"))
    assert {key.module for key in table.keys} == {f"layers.{layer}" for layer in range(8)}
    parts = read_trace(replayed_blocks("block{}").write(tmp_path / "u.sqlite"))
    assert {key.module.rstrip("01234567") for key in parts.keys} == {"block"}


def test_node_ids_of_another_process_are_other_nodes(tmp_path):
    export = graph((1, None, 15))
    other = PROCESS + 0x1000000
    export.range("serve", 100, 200, thread=other + 42).call(7, 150, thread=other + 42)
    export.kernel("theirs", 7, None, start=170, graphNodeId=1, process=other)
    assert modules(read_trace(export.write(tmp_path / "t.sqlite"))) == [
        ("theirs", "serve", ""),
        ("k1", "decode", "mlp"),
    ]


def test_without_node_events_the_note_says_what_is_missing(tmp_path):
    export = graph()
    export.schema = export.schema[: export.schema.index("CREATE TABLE CUDA_GRAPH_NODE_EVENTS")]
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert any("whose capture the trace does not hold" in note for note in table.notes)


def whole_graphs(path, graphs):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER, end INTEGER)")
        connection.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES (?, 1)", [(n,) for n in range(graphs)]
        )
    connection.close()
    return path


def test_graphs_recorded_whole_are_told_with_what_to_record_instead(tmp_path):
    path = whole_graphs(graph((1, None, 15)).write(tmp_path / "t.sqlite"), 3)
    assert any("3 CUDA graph launches" in note and "--cuda-graph-trace=node" in note for note in read_trace(path).notes)


def test_nothing_but_graphs_recorded_whole_is_refused_with_what_to_record_instead(tmp_path):
    path = whole_graphs(SmallExport().range("decode", 0, 10).write(tmp_path / "t.sqlite"), 5)
    with pytest.raises(TracediffError, match=r"5 CUDA graph launches.*--cuda-graph-trace=node"):
        read_trace(path)
