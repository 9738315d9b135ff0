"""Determinism on the terminal: what varies fits one screen; `--all` shows the rest."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tracediff.findings.determinism import DeterminismResult, Repeats, read_determinism
from tracediff.report.determinism.terminal import findings, print_determinism

PUBLISHED = Path(__file__).parents[3] / "profiles" / "tokens" / "determinism.json"


def printed(result, everything=False):
    file = io.StringIO()
    print_determinism(result, Console(file=file, width=80), everything)
    return file.getvalue()


@pytest.fixture(scope="module")
def result():
    return read_determinism(PUBLISHED)


def test_the_summary_names_what_varies_and_leaves_out_what_repeats(result):
    text = printed(result)
    assert len(text.splitlines()) <= 45
    assert "scatter_add" in text
    assert "layer_norm" not in text
    assert "every operation and size: --all" in text


def test_all_shows_every_operation(result):
    text = printed(result, everything=True)
    for row in result.rows:
        assert row.operation.split(",")[0] in text


def test_sentences_name_dtypes_only_where_some_repeat(result):
    default, *_ = findings(result)
    assert default == (
        "default: bits vary from run to run in cumsum; scatter_add; index_add; gather backward; "
        "bincount, weighted (float32)"
    )


def test_what_varies_is_given_as_a_plain_difference():
    """A ULP count of an element near zero would look huge."""
    row = Repeats(
        operation="sum", dtype="float16", size="64", setting="default", repeats=5, first_different=3, different=2,
        largest_share=0.5, largest_difference=0.03, largest_ulp=46_300.0,
    )  # fmt: skip
    text = printed(DeterminismResult(machine={}, model=None, rows=(row,)))
    assert "by up to 0.03" in text
    assert "46" not in text


def test_names_in_a_file_cannot_move_the_cursor():
    row = Repeats(operation="\x1b[2J", dtype="\x1b[31m", size="1", setting="default", repeats=0, refused="\x1b[0m")
    assert "\x1b" not in printed(DeterminismResult(machine={"gpu": "\x1b]0;x"}, model=None, rows=(row,)), True)
