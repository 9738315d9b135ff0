"""Folding repeated blocks for people."""

from tests.diff.tables import table
from tracediff.diff import diff_tables
from tracediff.diff.fold import fold


def folded(a, b=None):
    return [(each.row.kind, each.layers) for each in fold(diff_tables(table(a), table(b or a)).rows)]


def blocks(name, layers, stack="model.layers", module="mlp"):
    return [("prefill", f"{stack}.{layer}.{module}", name) for layer in layers]


def test_blocks_that_say_the_same_become_one_line():
    assert folded(blocks("k", range(4))) == [("model.layers.*.mlp", (0, 1, 2, 3))]


def test_a_block_that_ran_another_kernel_has_its_own_line():
    b = [*blocks("k", range(2)), *blocks("other", [2]), *blocks("k", [3])]
    assert folded(blocks("k", range(4)), b) == [("model.layers.*.mlp", (0, 1, 3)), ("model.layers.*.mlp", (2,))]


def test_modules_outside_the_blocks_keep_their_path():
    assert folded([("prefill", "lm_head", "k"), ("prefill", "model.norm", "k")]) == [
        ("lm_head", ()),
        ("model.norm", ()),
    ]


def test_the_blocks_own_kernels_are_one_line():
    assert folded([("prefill", "model.layers.0", "k"), ("prefill", "model.layers.1", "k")]) == [
        ("model.layers.*", (0, 1))
    ]


def test_two_stacks_of_blocks_are_not_one():
    both = [*blocks("k", range(2), "encoder.layers"), *blocks("k", range(2), "decoder.layers")]
    assert folded(both) == [("encoder.layers.*.mlp", (0, 1)), ("decoder.layers.*.mlp", (0, 1))]


def test_phases_are_not_folded_into_one_another():
    two = [("prefill", "model.layers.0.mlp", "k"), ("decode[0]", "model.layers.0.mlp", "k")]
    assert len(folded(two)) == 2
