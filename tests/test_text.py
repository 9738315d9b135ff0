"""Text from a trace, made safe to print."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tracediff.text import printable, shorten, sizes_in_words


@given(st.text())
def test_nothing_that_a_terminal_obeys_remains(text):
    assert not {unicodedata.category(character) for character in printable(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S"))))
def test_what_can_be_printed_stays(text):
    assert printable(text) == text


def test_an_escape_sequence_is_written_out():
    assert printable("a\x1b[2Jb\u202ec") == r"a\x1b[2Jb\u202ec"


@given(st.text(), st.integers(3, 40))
def test_shortened_text_fits_and_keeps_both_ends(text, width):
    short = shorten(text, width)
    assert len(short) <= max(width, 0) or short == text
    if len(text) > width:
        assert "…" in short
        assert short.startswith(text[:1])
        assert short.endswith(text[-1:]) or width < 4


def test_sizes_are_written_with_times_signs_and_unknown_ones_as_question_marks():
    assert sizes_in_words((128, 4, 1)) == "128×4×1"
    assert sizes_in_words((128, 8, None)) == "128×8×?"
