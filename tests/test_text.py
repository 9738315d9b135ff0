"""Text from a trace, made safe to print."""

import html
import json
import math
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tracediff.text import (
    csv_text,
    json_text,
    markdown_text,
    printable,
    shorten,
    sizes_in_words,
    without_surrogates,
)


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


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.sampled_from([None, 1, 2]))
def test_json_says_the_same_and_holds_nothing_that_a_terminal_obeys(value, indent):
    text = json_text(value, indent=indent)
    assert json.loads(text) == value
    found = {unicodedata.category(character) for character in text.replace("\n", "")}
    assert not found & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_control_characters_beyond_ascii_are_escaped_in_json():
    assert json_text("a\x9b31m\x7f\u202e\U000e0001größe → ×") == r'"a\u009b31m\u007f\u202e\udb40\udc01größe → ×"'


def test_what_is_no_number_is_null_in_json():
    document = {"a": [math.nan, 1.5, (math.inf, -math.inf)], "b": {"c": math.nan}}
    assert json.loads(json_text(document)) == {"a": [None, 1.5, [None, None]], "b": {"c": None}}


@given(st.text())
def test_text_without_surrogates_can_be_written(text):
    clean = without_surrogates(text)
    clean.encode()
    assert len(clean) == len(text)
    assert all(new in (old, "\ufffd") for old, new in zip(text, clean, strict=True))


def test_a_lone_surrogate_becomes_a_replacement_character():
    assert without_surrogates("a\ud800b\udfff") == "a\ufffdb\ufffd"


LINKS = [
    "http://example.invalid/x",
    "HTTPS://example.invalid",
    "ftp://example.invalid",
    "see www.example.invalid",
    "mail someone@example.invalid",
    "@someone",
    "lambda#1",
    "owner/repository#12",
    "GH-12",
]


@pytest.mark.parametrize("text", LINKS)
def test_markdown_of_a_name_holds_no_link_or_mention(text):
    """As forges find them: in the rendered text, so that backslashes do not count."""
    rendered = MarkdownIt("commonmark").renderInline(markdown_text(text))
    assert not re.search(r"(https?|ftp)://|www\.|@\w|#\d|\bGH-\d", rendered, re.IGNORECASE)
    assert rendered.replace("\u200b", "") == text


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_markdown_shows_exactly_the_text(text):
    rendered = MarkdownIt("commonmark").enable("table").renderInline(markdown_text(text))
    assert html.unescape(rendered).replace("\u200b", "").strip() == text.replace("\u200b", "").strip()


def test_a_bar_ends_no_cell_of_a_markdown_table():
    table = f"| name |\n| --- |\n| {markdown_text('a | b `c` | d')} |\n"
    assert "<td>a | b `c` | d</td>" in MarkdownIt("commonmark").enable("table").render(table)


@pytest.mark.parametrize(
    "text", ["=1+1", " =1+1", "\u00a0=1", "\uff1d1+1", "\ufe66x", "+1", "\uff0b1", "-x", "\uff0d1", "@a", "\uff20a"]
)
def test_no_cell_begins_a_formula(text):
    assert csv_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "1-1", "nvjet_hsh", "−5 %", "'=1"])
def test_cells_that_begin_no_formula_stay(text):
    assert csv_text(text) == text
