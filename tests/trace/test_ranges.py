"""Nesting of ranges, against slow and obvious computations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_exports import SmallExport

from tracediff.diff.show import show_table
from tracediff.trace import read_trace
from tracediff.trace.ranges import in_layer, nest, phases

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), max_size=25)


def slow(ranges, moment):
    """Return the last-begun range that is open, the inner one of those that began together."""
    is_open = [(start, -end, index) for index, (start, end) in enumerate(ranges) if start <= moment < end]
    return max(is_open)[2] if is_open else -1


@given(RANGES)
def test_innermost_is_the_last_begun_that_is_open(spans):
    ranges = sorted(((start, start + length) for start, length in spans), key=lambda span: (span[0], -span[1]))
    nesting = nest(*(np.array([span[side] for span in ranges], dtype=np.int64) for side in (0, 1)))
    for moment in range(-1, 85):
        assert nesting.innermost(np.array([moment]))[0] == slow(ranges, moment)


@given(RANGES, st.lists(st.integers(-1, 85), max_size=20), st.integers(1, 4), st.sets(st.integers(0, 24)))
def test_ranges_nest_alike_however_many_are_nested_at_once(spans, moments, at_once, named):
    ordered = sorted(((start, start + length) for start, length in spans), key=lambda span: (span[0], -span[1]))
    start, end = (np.array([span[side] for span in ordered], dtype=np.int64) for side in (0, 1))
    whole = nest(start, end)
    is_phase = np.isin(np.arange(len(start)), list(named))
    phases_of_whole = phases(whole.parent, is_phase).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracediff.trace.ranges._AT_ONCE", at_once)
        in_parts = nest(start, end)
        found = in_parts.innermost(np.array(moments, dtype=np.int64)).tolist()
        assert phases(whole.parent, is_phase).tolist() == phases_of_whole
    assert found == [slow(ordered, moment) for moment in moments]
    for name in ("parent", "ends", "innermost_after"):
        assert getattr(in_parts, name).tolist() == getattr(whole, name).tolist()


@given(st.recursive(st.just([]), lambda inside: st.lists(inside, max_size=4), max_leaves=40))
def test_parents_of_properly_nested_ranges(tree):
    clock, spans, parents = 0, [], []

    def walk(children, parent):
        nonlocal clock
        for child in children:
            index = len(spans)
            spans.append([clock, None])
            parents.append(parent)
            clock += 1
            walk(child, index)
            spans[index][1] = clock
            clock += 1

    walk(tree, -1)
    start, end = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    nesting = nest(start, end)
    assert nesting.parent.tolist() == parents
    outermost = phases(nesting.parent, np.zeros(len(spans), dtype=bool))
    for index, phase in enumerate(outermost.tolist()):
        around = index
        while parents[around] != -1:
            around = parents[around]
        assert phase == around


@given(st.lists(st.integers(-1, 8), min_size=1, max_size=9), st.lists(st.booleans(), min_size=9, max_size=9))
def test_phase_is_the_outermost_of_the_named_ranges(raw, named):
    parent = np.array([min(value, index - 1) for index, value in enumerate(raw)], dtype=np.int64)
    is_phase = np.array(named[: len(parent)])
    for index, phase in enumerate(phases(parent, is_phase).tolist()):
        chain = [index]
        while parent[chain[-1]] != -1:
            chain.append(int(parent[chain[-1]]))
        said = [each for each in chain if is_phase[each]]
        assert phase == (said or chain)[-1]


@pytest.mark.parametrize(
    ("module", "caller", "expected"),
    [
        ("model.layers.0.attn.rotary", "model.layers.7.attn", "model.layers.7.attn.rotary"),
        ("model.layers.0.attn.rotary", "model.layers.0.attn", "model.layers.0.attn.rotary"),
        ("Model.Block[0].Act", "Model.Block[12].Mlp", "Model.Block[12].Act"),
        ("decoder.layers.0", "encoder.layers.7", "decoder.layers.0"),
        ("model.rotary", "model.layers.7.attn", "model.rotary"),
        ("model.layers.3.mlp", "model", "model.layers.3.mlp"),
    ],
)
def test_a_module_that_blocks_share_is_in_the_block_that_calls_it(module, caller, expected):
    assert in_layer(module, caller) == expected


def test_a_shared_module_has_the_layer_of_the_range_around_it(tmp_path):
    export = SmallExport().range("model", 0, 1000)
    for layer in range(3):
        export.range(f"model.layers.{layer}.attn", 100 * layer + 1, 100 * layer + 90)
        export.range("model.layers.0.attn.rotary", 100 * layer + 10, 100 * layer + 20)
        export.kernel("rope", layer + 1, 100 * layer + 15)
    table = read_trace(export.write(tmp_path / "t.sqlite"))
    assert [(key.module, key.layer) for key in table.keys] == [
        (f"model.layers.{layer}.attn.rotary", layer) for layer in range(3)
    ]


def test_a_range_that_launches_nothing_is_no_iteration(tmp_path):
    export = SmallExport()
    for step in range(3):
        export.range("Model", step * 100, step * 100 + 50).kernel("k", step + 1, step * 100 + 10)
        export.range("Model", step * 100 + 60, step * 100 + 70)
    assert read_trace(export.write(tmp_path / "t.sqlite")).iteration.tolist() == [0, 1, 2]


def test_kernels_of_a_range_without_a_name_stand_with_those_of_its_phase(tmp_path):
    export = SmallExport().range("prefill", 0, 100).range("", 20, 40).kernel("a", 10, 20).kernel("b", 30, 40)
    table = read_trace(export.kernel("c", 50, 60).write(tmp_path / "trace.sqlite"))
    assert len(set(table.keys)) == len(table.keys) == 1
    _, rows = show_table(table)
    assert [[kernel.parsed.name for kernel in row.a] for row in rows] == [["a", "b", "c"]]


def test_a_graph_that_is_named_as_another_is_numbered_stands_with_it(tmp_path):
    export = SmallExport().range("run", 0, 100)
    for place, name in enumerate(["fabc12345678", "0"]):
        export.range(f"## Call CompiledFxGraph {name} ##", place * 20, place * 20 + 10)
        export.kernel(f"k{place}", place * 20 + 1, place * 20 + 5)
    table = read_trace(export.write(tmp_path / "trace.sqlite"))
    assert len(set(table.keys)) == len(table.keys)
    assert sum(len(row.a) for row in show_table(table)[1]) == 2
