from hypothesis import given
from hypothesis import strategies as st

from tracediff.report.diff.html.marks import marked_names
from tracediff.report.diff.html.view import NamePart


def marked(parts: tuple[NamePart, ...]) -> list[str]:
    return [part.text for part in parts if part.marked]


def test_only_the_differing_words_of_two_names_are_marked() -> None:
    a, b = marked_names("nvjet_hsh_128x8_64x12_4x1_v_bz_TNT", "nvjet_hsh_128x16_64x12_4x1_v_bz_splitK_TNT")
    assert marked(a) == ["128x8"]
    assert marked(b) == ["128x16", "_splitK"]


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_parts_joined_are_the_name(a: str, b: str) -> None:
    parts_a, parts_b = marked_names(a, b)
    assert "".join(part.text for part in parts_a) == a
    assert "".join(part.text for part in parts_b) == b


@given(st.text(max_size=60))
def test_equal_names_have_no_mark(name: str) -> None:
    assert not any(part.marked for side in marked_names(name, name) for part in side)


def test_names_without_end_are_marked_as_a_whole() -> None:
    a, b = marked_names("head " + "x " * 2000 + "tail", "head " + "y " * 2000 + "tail")
    assert a[0] == NamePart(text="head ", marked=False)
    assert len(a) == len(b) == 3
