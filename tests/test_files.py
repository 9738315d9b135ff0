"""Writing files: never over another one unasked, never half."""

import pytest

from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite, replaced_when_complete, write_text


def test_a_new_file_holds_the_text(tmp_path):
    write_text(tmp_path / "out.txt", "größer")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "größer"


def test_an_existing_file_is_kept_and_named(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(TracediffError, match=r"out\.txt exists: add --force"):
        write_text(path, "new")
    assert path.read_text() == "old"
    write_text(path, "new", force=True)
    assert path.read_text() == "new"


def test_a_directory_and_a_missing_folder_are_trouble(tmp_path):
    with pytest.raises(TracediffError, match="is a directory"):
        write_text(tmp_path, "x", force=True)
    with pytest.raises(TracediffError, match="no directory"):
        write_text(tmp_path / "missing" / "out.txt", "x")


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replaced_when_complete(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_input_is_never_replaced_even_by_force(tmp_path):
    recording = tmp_path / "trace.sqlite"
    recording.write_text("recorded")
    link = tmp_path / "link.sqlite"
    link.symlink_to(recording)
    for path in (recording, link):
        with pytest.raises(TracediffError, match="is an input"):
            refuse_to_overwrite(path, force=True, inputs=[recording])
    assert recording.read_text() == "recorded"


def test_a_name_that_no_file_can_have_is_one_line_of_trouble(tmp_path):
    with pytest.raises(TracediffError, match="cannot write") as caught:
        write_text(tmp_path / ("x" * 300), "text")
    assert "\n" not in str(caught.value)


def test_a_long_name_that_a_file_can_have_is_written(tmp_path):
    write_text(tmp_path / ("x" * 250), "text")
    assert (tmp_path / ("x" * 250)).read_text() == "text"
