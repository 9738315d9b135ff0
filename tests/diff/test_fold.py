"""Folding repeated blocks for people."""

import pytest

from tests.diff.tables import table
from tracediff.diff import diff_tables
from tracediff.diff.fold import around_layer, fold, layer_span


def folded(a, b=None):
    return [(each.module, each.layers) for each in fold(diff_tables(table(a), table(b or a)).rows)]


def blocks(name, layers, stack="model.layers", module="mlp"):
    return [("prefill", f"{stack}.{layer}.{module}", name) for layer in layers]


def test_blocks_that_say_the_same_become_one_line():
    assert folded(blocks("k", range(4))) == [("mlp", (0, 1, 2, 3))]


def test_a_block_that_ran_another_kernel_stands_alone():
    b = [*blocks("k", range(2)), *blocks("other", [2]), *blocks("k", [3])]
    assert folded(blocks("k", range(4)), b) == [("mlp", (0, 1, 3)), ("mlp", (2,))]


def test_modules_outside_the_blocks_keep_their_path():
    assert folded([("prefill", "lm_head", "k"), ("prefill", "model.norm", "k")]) == [
        ("lm_head", ()),
        ("model.norm", ()),
    ]


def test_the_blocks_own_kernels_have_a_line():
    assert folded([("prefill", "model.layers.0", "k"), ("prefill", "model.layers.1", "k")]) == [("(block)", (0, 1))]


def test_two_stacks_of_blocks_are_not_one():
    both = [*blocks("k", range(2), "encoder.layers"), *blocks("k", range(2), "decoder.layers")]
    assert folded(both) == [("encoder.layers.*.mlp", (0, 1)), ("decoder.layers.*.mlp", (0, 1))]


def test_phases_are_not_folded_into_one_another():
    two = [("prefill", "model.layers.0.mlp", "k"), ("decode[0]", "model.layers.0.mlp", "k")]
    assert len(folded(two)) == 2


def test_spans():
    assert layer_span((0, 1, 2, 5, 7, 8)) == "0–2, 5, 7–8"
    assert layer_span(()) == ""


@pytest.mark.parametrize(
    ("module", "layer", "cut"),
    [
        ("model.layers.5.mlp", 5, ("model.layers.", ".mlp")),
        ("model.layers.15.mlp5", 15, ("model.layers.", ".mlp5")),
        ("transformer.h[3].attn", 3, ("transformer.h[", "].attn")),
        ("blocks/07/mlp", 7, ("blocks/", "/mlp")),
        ("L12", 12, ("L", "")),
    ],
)
def test_a_path_is_cut_at_its_blocks_number_however_it_is_written(module, layer, cut):
    assert around_layer(module, layer) == cut
