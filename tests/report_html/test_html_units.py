from hypothesis import given
from hypothesis import strategies as st

from tracediff.report.html import units


@given(st.floats(0, 1))
def test_a_share_is_nothing_or_all_only_where_it_is(part: float) -> None:
    assert (units.share(part) == "0 %") == (part == 0)
    assert (units.share(part) == "100 %") == (part == 1)


def test_layers_are_written_as_spans() -> None:
    assert units.layer_ranges([]) == ""
    assert units.layer_ranges([5]) == "layer 5"
    assert units.layer_ranges([3, 0, 1, 2, 5]) == "layers 0–3, 5"


def test_long_lists_end_in_a_count() -> None:
    assert units.listing("abc") == "a, b and c"
    assert units.listing("abcdefgh", limit=3) == "a, b, c and 5 more"
    assert units.listing([]) == ""
