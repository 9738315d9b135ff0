"""The helper that keeps whole outputs as files."""

import pytest

from tests import golden
from tests.profiles import FLOAT16


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "GOLD", tmp_path / "gold")
    monkeypatch.setattr(golden, "ACTUAL", tmp_path / "actual")


def failure(text, name="screen/a.txt", **options):
    with pytest.raises(pytest.fail.Exception) as raised:
        golden.assert_golden(text, name, **options)
    return str(raised.value)


def test_a_new_output_fails_until_it_is_accepted():
    assert "python -m tests.golden screen/a.txt" in failure("one\n")
    assert golden.accept() == ["screen/a.txt"]
    golden.assert_golden("one\n", "screen/a.txt")


def test_a_changed_output_shows_the_lines_that_differ_and_is_kept():
    failure("one\ntwo\n")
    golden.accept()
    assert "-two\n+three" in failure("one\nthree\n")
    assert (golden.ACTUAL / "screen/a.txt").read_text() == "one\nthree\n"


def test_only_the_outputs_asked_for_are_accepted():
    failure("one", "diff/a.txt")
    failure("two", "show/a.txt")
    assert golden.accept("diff/") == ["diff/a.txt"]
    assert (golden.ACTUAL / "show/a.txt").exists()


def test_an_output_that_fits_again_leaves_nothing_to_accept():
    failure("one")
    golden.accept()
    failure("two")
    golden.assert_golden("one", "screen/a.txt")
    assert golden.accept() == []


def test_versions_places_and_times_are_scrubbed(tmp_path):
    text = f"tracediff {golden.__version__} wrote {tmp_path}/x.html and {golden.TESTS.parent}/y at 2026-01-02T03:04:05Z"
    assert golden.scrubbed(text, golden.SCRUBS) == "tracediff VERSION wrote TMP/x.html and y at TIME"


def test_the_screen_has_the_width_asked_for():
    def width(columns):
        return max(map(len, golden.run("show", FLOAT16 / "b1.sqlite", columns=columns).splitlines()))

    assert width(80) <= 80 < width(160) <= 160
