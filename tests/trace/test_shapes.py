"""Steps of a recorded program: their shapes, two of them compared, and what the log says of equal ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trace.small_exports import SCHEMA, THREAD, SmallExport
from tracediff.diff.pair_steps import between_traces
from tracediff.errors import TracediffError
from tracediff.trace import read_trace
from tracediff.trace.columns import NULL
from tracediff.trace.shape import Shape
from tracediff.trace.steps import shapes_of_steps

OWN, THEIRS = 1, 2
GEMM = "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT"
LOG = "cublasLtHSHMatmul Adesc=[type=R_16F rows=4096 cols=4096] algo=[algoId=66 tile=MATMUL_TILE_128x8 numSplitsK={}]"


@pytest.fixture
def export():
    made = SmallExport(schema=SCHEMA.replace("domainId INTEGER)", "domainId INTEGER, int64Value INTEGER)"))
    for domain, name in ((OWN, "tracediff"), (THEIRS, "server")):
        made.add("NVTX_EVENTS", start=0, eventType=75, text=name, globalTid=THREAD, domainId=domain)
    return made


def step(export, start, batch, tokens, *, name="Net", split_k=None, kernel=GEMM):
    """Add a step of 50 ns with one product in `layers.0`, logged or not, and one kernel after it."""
    export.range(name, start, start + 50, domainId=OWN, int64Value=batch << 32 | tokens)
    export.range("layers.0", start + 10, start + 40, domainId=OWN)
    if split_k is not None:
        text = LOG.format(split_k)
        export.add("NVTX_EVENTS", start=start + 15, eventType=34, text=text, globalTid=THREAD, domainId=OWN)
    export.kernel(kernel, start, start + 20, end=start + 40)
    return export.kernel(f"after {name}", start + 1, start + 60)


def two_shapes(table, shapes):
    """What `diff --between` compares of one trace."""
    return between_traces(table, table, shapes)


def read(export, tmp_path):
    return read_trace(export.write(tmp_path / "trace.sqlite"))


def shapes(table):
    return [str(table.shapes[code]) if code >= 0 else None for code in table.shape.tolist()]


@pytest.mark.parametrize(("payload", "text"), [((8 << 32) + 1, "8x1"), (40, "40"), ((1 << 32) + 4096, "1x4096")])
def test_a_payload_is_written_as_people_write_shapes(payload, text):
    assert str(Shape.of_payload(payload)) == text
    assert Shape.parse(text) == Shape.of_payload(payload)


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_batch_and_tokens_are_read_back(batch, tokens):
    assert Shape.of_payload(batch << 32 | tokens) == Shape(batch, tokens)
    assert Shape.parse(str(Shape(batch % 10**9, tokens % 10**9))) == (batch % 10**9, tokens % 10**9)


def test_a_step_reaches_to_the_next_one(export, tmp_path):
    export.kernel("before", 7, 5)
    table = read(step(step(export, 100, 1, 6), 200, 8, 1), tmp_path)
    assert shapes(table) == [None, "1x6", "1x6", "8x1", "8x1"]


def test_a_step_is_a_phase_whatever_the_program_has_open_around_it(export, tmp_path):
    export.range("generate", 50, 900, domainId=THEIRS)
    table = read(step(step(export, 100, 1, 6), 200, 1, 1), tmp_path)
    products = [code for code in table.key.tolist() if table.keys[code].module == "layers.0"]
    assert {table.keys[code].phase for code in products} == {"Net"}
    assert table.iteration.tolist() == [0, 0, 1, 0]


def test_a_payload_in_another_domain_is_no_step(export, tmp_path):
    export.range("theirs", 100, 200, domainId=THEIRS, int64Value=5).kernel("first", 1, 120)
    table = read(export, tmp_path)
    assert (table.shapes, len(table.shape)) == ((), 0)


def test_an_export_without_payloads_has_no_steps(tmp_path):
    export = SmallExport().range("prefill", 0, 100).kernel("first", 1, 20)
    assert read(export, tmp_path).shapes == ()


def test_the_root_that_takes_longest_steps(export, tmp_path):
    step(export, 100, 4, 1)
    export.range("Sampler", 160, 165, domainId=OWN, int64Value=(4 << 32) + 128256).kernel("sample", 9, 161)
    assert shapes(read(export, tmp_path)) == ["4x1", "4x1", "4x1"]


def test_the_root_that_takes_the_gpu_longest_steps_though_another_is_called_more_often(export, tmp_path):
    """vLLM replays whole graphs without calling its model, and calls its sampler after each."""
    step(export, 100, 4, 1)
    node = {"start": 120, "end": 121, "eventClass": 1, "globalTid": THREAD, "nameId": 1, "graphNodeId": 71}
    export.add("CUDA_GRAPH_NODE_EVENTS", **node)
    for number in range(9):
        begin = 1000 * (number + 1)
        export.call(50 + number, begin).kernel(
            "replayed", 50 + number, None, start=begin, end=begin + 300, graphNodeId=71
        )
        export.range("Sampler", begin + 400, begin + 900, domainId=OWN, int64Value=(4 << 32) + 128256)
        export.kernel("sample", 70 + number, begin + 500)
    assert set(shapes(read(export, tmp_path))) == {"4x1"}


def test_a_replayed_kernel_has_the_shape_that_was_captured(export, tmp_path):
    for node, batch, start in ((71, 1, 100), (72, 8, 200)):
        step(export, start, batch, 1)
        export.add(
            "CUDA_GRAPH_NODE_EVENTS",
            **{"start": start + 20, "end": start + 21, "eventClass": 1, "globalTid": THREAD, "nameId": 1},
            graphNodeId=node,
        )
    export.call(50, 500).kernel("replayed", 50, None, start=505, graphNodeId=71)
    export.call(51, 600).kernel("replayed", 51, None, start=605, graphNodeId=72)
    assert shapes(read(export, tmp_path))[-2:] == ["1x1", "8x1"]


def test_every_replay_outside_all_ranges_is_an_execution_of_what_was_captured(export, tmp_path):
    step(export, 100, 1, 1)
    export.range("Net", 200, 250, domainId=OWN, int64Value=(1 << 32) + 1)
    export.range("layers.0", 210, 240, domainId=OWN)
    node = {"start": 220, "end": 221, "eventClass": 1, "globalTid": THREAD, "nameId": 1, "graphNodeId": 71}
    export.add("CUDA_GRAPH_NODE_EVENTS", **node)
    for correlation, launch in ((50, 500), (51, 600)):
        export.call(correlation, launch).kernel("replayed", correlation, None, start=launch + 5, graphNodeId=71)
    table = read(export, tmp_path)
    replays = [table.names[code] == "replayed" for code in table.name.tolist()]
    assert table.iteration[replays].tolist() == [1, 2]
    assert {table.keys[code].module for code in table.key[replays].tolist()} == {"layers.0"}


def test_what_was_captured_in_a_step_is_an_execution_of_it_in_whatever_range_of_the_programs_it_is_replayed(
    export, tmp_path
):
    export.range("Net", 200, 250, domainId=OWN, int64Value=(1 << 32) + 1)
    node = {"start": 220, "end": 221, "eventClass": 1, "globalTid": THREAD, "nameId": 1, "graphNodeId": 71}
    export.add("CUDA_GRAPH_NODE_EVENTS", **node)
    export.range("execute generation", 490, 690)
    for correlation, launch in ((50, 500), (51, 600)):
        export.call(correlation, launch).kernel("replayed", correlation, None, start=launch + 5, graphNodeId=71)
    table = read(export, tmp_path)
    assert [(key.phase, key.module) for key in table.keys] == [("Net", "")]
    assert table.iteration.tolist() == [0, 1]
    assert shapes(table) == ["1x1"] * 2


def test_what_is_replayed_in_another_step_belongs_to_that_one(export, tmp_path):
    export.range("Net", 200, 250, domainId=OWN, int64Value=(1 << 32) + 1)
    node = {"start": 220, "end": 221, "eventClass": 1, "globalTid": THREAD, "nameId": 1, "graphNodeId": 71}
    export.add("CUDA_GRAPH_NODE_EVENTS", **node)
    export.range("Other", 490, 690, domainId=OWN, int64Value=(1 << 32) + 1)
    export.call(50, 500).kernel("replayed", 50, None, start=505, graphNodeId=71)
    assert [(key.phase, key.module) for key in read(export, tmp_path).keys] == [("Other", "")]


def test_two_shapes_of_a_trace_are_two_tables(export, tmp_path):
    for start, batch in ((100, 1), (200, 8), (300, 1)):
        step(export, start, batch, 1)
    one, eight = two_shapes(read(export, tmp_path), ("1x1", "8x1"))
    # What follows a step is kept of the last one alone.
    assert (len(one), len(eight)) == (3, 2)
    assert (one.info.batch, one.info.tokens, eight.info.batch) == (1, 1, 8)
    assert one.info.path.endswith("trace.sqlite [1x1]")
    assert set(shapes(one)) == {"1x1"}


def test_of_a_range_around_several_steps_the_last_step_of_each_shape_is_compared(export, tmp_path):
    export.range("generate", 90, 900)
    for start, batch in ((100, 1), (200, 1), (300, 8), (400, 1), (500, 8)):
        step(export, start, batch, 1)
    for table in two_shapes(read(export, tmp_path), ("1x1", "8x1")):
        beside = [table.keys[code].phase == "generate" for code in table.key.tolist()]
        assert table.launch_ns[beside].tolist() == [table.launch_ns.max()]


@pytest.mark.parametrize("shape", ["8x1", "8×1", "8*1", " 8x1 ", "08x01"])
def test_shapes_are_read_as_people_write_them(export, tmp_path, shape):
    table = read(step(step(export, 100, 1, 1), 200, 8, 1), tmp_path)
    assert len(two_shapes(table, ("1x1", shape))[1]) == 2


@pytest.mark.parametrize("shape", ["", "x", "8x", "x1", "8x1x1", "-8x1", "eight", "9" * 40])
def test_what_is_no_shape_is_one_line(export, tmp_path, shape):
    table = read(step(export, 100, 1, 1), tmp_path)
    with pytest.raises(TracediffError, match="is not a shape"):
        two_shapes(table, ("1x1", shape))


def test_a_shape_that_is_not_there_is_one_line_with_those_that_are(export, tmp_path):
    table = read(step(step(export, 100, 1, 1), 200, 8, 1), tmp_path)
    with pytest.raises(TracediffError, match=r"no step of shape 4x1: it has (1x1, 8x1|8x1, 1x1)"):
        two_shapes(table, ("1x1", "4x1"))


def test_a_trace_without_steps_says_how_to_record_them(tmp_path):
    table = read(SmallExport().range("prefill", 0, 100).kernel("first", 1, 20), tmp_path)
    with pytest.raises(TracediffError, match="tracediff record"):
        two_shapes(table, ("1x1", "8x1"))


def algorithms(table):
    return [table.algorithms[code] if code >= 0 else None for code in table.algorithm.tolist()]


def test_the_log_of_a_step_holds_for_equal_launches_in_steps_of_its_shape(export, tmp_path):
    step(export, 100, 1, 1, split_k=3)
    step(export, 200, 1, 1)
    assert algorithms(read(export, tmp_path)) == [LOG.format(3), None, LOG.format(3), None]


def test_the_log_of_a_step_says_nothing_of_another_shape_or_another_kernel(export, tmp_path):
    step(export, 100, 1, 1, split_k=3)
    step(export, 200, 8, 1)
    step(export, 300, 1, 1, kernel="nvjet_sm90_hsh_64x8_64x16_4x1_v_bz_TNT")
    assert algorithms(read(export, tmp_path))[2:] == [None] * 4


def test_the_log_of_a_capture_holds_for_every_replay(export, tmp_path):
    export.range("layers.0", 100, 200, domainId=OWN)
    for place, (split_k, node) in enumerate(((3, 71), (2, 72))):
        moment = 110 + 20 * place
        text = LOG.format(split_k)
        export.add("NVTX_EVENTS", start=moment, eventType=34, text=text, globalTid=THREAD, domainId=OWN)
        made = {"start": moment + 5, "end": moment + 6, "eventClass": 1, "globalTid": THREAD, "nameId": 1}
        export.add("CUDA_GRAPH_NODE_EVENTS", **made, graphNodeId=node)
    for correlation, launch in ((50, 500), (51, 600)):
        export.call(correlation, launch)
        export.kernel(GEMM, correlation, None, start=launch + 5, graphNodeId=71)
        export.kernel(GEMM, correlation, None, start=launch + 7, graphNodeId=72)
    assert algorithms(read(export, tmp_path)) == [LOG.format(3), LOG.format(2)] * 2


def test_where_the_log_of_equal_launches_differs_none_is_shared(export, tmp_path):
    step(export, 100, 1, 1, split_k=3)
    step(export, 200, 1, 1, split_k=2)
    step(export, 300, 1, 1)
    assert algorithms(read(export, tmp_path)) == [LOG.format(3), None, LOG.format(2), None, None, None]


def test_processes_do_not_share_steps():
    shape = np.array([5, NULL, 9, NULL, NULL], dtype=np.int64)
    process = np.array([0, 1, 1, 0, 1], dtype=np.int32)
    distinct, code = shapes_of_steps(shape, process)
    assert distinct == (Shape(0, 5), Shape(0, 9))
    assert code.tolist() == [0, -1, 1, 0, 1]


def test_each_kernel_has_its_steps_shape_in_whatever_order_the_rows_are(export, tmp_path):
    for start, batch in ((300, 8), (100, 1), (200, 4)):
        step(export, start, batch, 1)
    found = read(export, tmp_path)
    shapes = [None if code < 0 else str(found.shapes[code]) for code in found.shape]
    assert shapes == ["1x1"] * 2 + ["4x1"] * 2 + ["8x1"] * 2
