import re

from hypothesis import given
from hypothesis import strategies as st

from tracediff.report.diff.html.places import anchor


def test_ids_read_like_the_place() -> None:
    assert anchor("m", "decode[0]", "model.layers.5.mlp.up_proj") == "m:decode-0:model.layers.5.mlp.up_proj"


@given(st.text(), st.text())
def test_ids_need_no_escaping_anywhere(phase: str, module: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.:-]+", anchor("m", phase, module))


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_places_never_share_an_id(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert (anchor("m", *first) == anchor("m", *second)) == (first == second)
