import re

from hypothesis import given
from hypothesis import strategies as st

from tracediff.report.diff.html.places import anchor, kind_labels

from .samples import row


def test_ids_read_like_the_place() -> None:
    assert anchor("m", "decode[0]", "model.layers.5.mlp.up_proj") == "m:decode-0:model.layers.5.mlp.up_proj"


@given(st.text(), st.text())
def test_ids_need_no_escaping_anywhere(phase: str, module: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.:-]+", anchor("m", phase, module))


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_places_never_share_an_id(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert (anchor("m", *first) == anchor("m", *second)) == (first == second)


def test_the_block_index_is_no_part_of_a_kind() -> None:
    kinds = {row(None, None, layer=n, module=f"model.layers.{n}.mlp").kind for n in (0, 1, 12)}
    assert kinds == {"model.layers.*.mlp"}


def test_two_stacks_of_blocks_keep_their_whole_path() -> None:
    assert kind_labels(["model.layers.*.mlp", "model.layers.*", "lm_head", ""]) == {
        "model.layers.*.mlp": "mlp",
        "model.layers.*": "(the block itself)",
        "lm_head": "lm_head",
        "": "(directly in the phase)",
    }
    assert kind_labels(["encoder.*.mlp", "decoder.*.mlp"])["encoder.*.mlp"] == "encoder.*.mlp"
