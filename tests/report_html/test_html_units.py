from hypothesis import given
from hypothesis import strategies as st

from tracediff.report.html import units


def test_durations_carry_a_unit_that_fits() -> None:
    assert [units.duration(ns) for ns in (0, 999, 1000, 12_600, 5_125_000, 2e9)] == [
        "0 ns",
        "999 ns",
        "1 µs",
        "12.6 µs",
        "5.12 ms",
        "2 s",
    ]


def test_change_says_when_a_side_is_nothing() -> None:
    assert units.change(5, 5) == "no change"
    assert units.change(0, 5) == "new"
    assert units.change(5, 0) == "gone"
    assert units.change(100, 110) == "+10.0 %"
    assert units.change(100, 98) == "−2.0 %"


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_a_change_is_never_rounded_to_none(before: int, after: int) -> None:
    words = units.change(before, after)
    assert (words == "no change") == (before == after)
    assert not words.endswith((" 0.0 %", "+0.0 %", "−0.0 %"))


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
