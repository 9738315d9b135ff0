from hypothesis import given
from hypothesis import strategies as st

from tracediff.report.diff.html import units


@given(st.floats(0, 1))
def test_a_share_is_nothing_or_all_only_where_it_is(part: float) -> None:
    assert (units.share(part) == "0 %") == (part == 0)
    assert (units.share(part) == "100 %") == (part == 1)
