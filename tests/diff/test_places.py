"""Where a module is in its model, however the program writes its path."""

import pytest

from tests.diff.rules.make import nvjet
from tests.diff.test_attached_evidence import row
from tracediff.diff.places import around_layer, kind_names, layer_span, path_in_block, short_names


def rows(*places):
    return [row(module, nvjet(3), nvjet(3), layer) for module, layer in places]


def named(names):
    """Short names of paths with the block's number 0 in them."""
    places = rows(*((path, 0 if ".0." in path else None) for path in names))
    return [short_names(places)[each.kind] for each in places]


@pytest.mark.parametrize(
    ("module", "layer", "cut"),
    [
        ("model.layers.5.mlp", 5, ("model.layers.", ".mlp")),
        ("model.layers.15.mlp5", 15, ("model.layers.", ".mlp5")),
        ("transformer.h[3].attn", 3, ("transformer.h[", "].attn")),
        ("blocks/07/mlp", 7, ("blocks/", "/mlp")),
        ("L12", 12, ("L", "")),
        ("model2.layers.2.mlp", 2, ("model2.layers.", ".mlp")),
        ("model.1.layers.1.mlp", 1, ("model.1.layers.", ".mlp")),
        ("model2/step_2/mlp", 2, ("model2/step_", "/mlp")),
        ("layers.5.experts.5", 5, ("layers.", ".experts.5")),
        ("lm_head", 3, ("lm_head", "")),
    ],
)
def test_a_path_is_cut_at_its_blocks_number_however_it_is_written(module, layer, cut):
    assert around_layer(module, layer) == cut


@pytest.mark.parametrize("module", ["model.layers.5.mlp.up", "Model.Block[5].mlp.up", "blocks/5/mlp.up", "L05 mlp.up"])
def test_the_path_inside_a_block_begins_with_a_name(module):
    assert path_in_block(module, 5) == "mlp.up"


def test_the_block_itself_and_modules_outside_have_names_too():
    assert path_in_block("model.layers.5", 5) == "(block)"
    assert path_in_block("Model.Block[5]", 5) == "(block)"
    assert path_in_block("model.norm", None) == "model.norm"


@pytest.mark.parametrize("path", ["model.layers.{}.mlp", "Model.Block[{}].mlp", "blocks/{}/mlp", "L0{}.mlp"])
def test_the_same_place_in_every_block_is_one_kind(path):
    kinds = {each.kind for each in rows(*((path.format(layer), layer) for layer in (0, 1, 3)))}
    assert kinds == {path.replace("0{}", "{}").format("*")}


def test_kinds_are_named_by_their_path_in_the_block():
    found = kind_names(rows(("model.layers.0.mlp", 0), ("model.layers.0", 0), ("lm_head", None), ("", None)))
    assert list(found.values()) == ["mlp", "(block)", "lm_head", ""]


def test_two_stacks_of_blocks_keep_their_whole_path():
    found = kind_names(rows(("encoder.layers.0.mlp", 0), ("decoder.layers.0.mlp", 0), ("lm_head", None)))
    assert list(found.values()) == ["encoder.layers.*.mlp", "decoder.layers.*.mlp", "lm_head"]


def test_short_names_are_the_last_part_unless_two_kinds_share_it():
    assert named(["model.layers.0.self_attn.q_proj", "lm_head"]) == ["q_proj", "lm_head"]
    assert named(["layers.0.attn.norm", "layers.0.mlp.norm"]) == ["attn.norm", "mlp.norm"]
    assert named(["encoder.layers.0.mlp", "decoder.layers.0.mlp"]) == ["encoder.layers.*.mlp", "decoder.layers.*.mlp"]


def test_layers_are_written_as_spans():
    assert layer_span((0, 1, 2, 5, 7, 8)) == "0–2, 5, 7–8"
    assert layer_span((3,)) == "3"
    assert layer_span(()) == ""
