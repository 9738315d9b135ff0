"""A trace that is replaced or written while it is read is refused: two traces must not be mixed."""

import os
import shutil

import pytest
from small_exports import DATA

from tracediff.errors import TracediffError
from tracediff.trace import read_trace, sqlite_export
from tracediff.trace.file_state import unchanged

ONE, OTHER = DATA / "llama-two-blocks-b1.sqlite", DATA / "llama-two-blocks-b2.sqlite"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "trace.sqlite"
    shutil.copy(ONE, path)
    return path


def replace_by_renaming(path):
    shutil.copy(OTHER, path.with_name("new"))
    path.with_name("new").replace(path)


def rewrite_in_place(path):
    with path.open("r+b") as file:
        file.write(OTHER.read_bytes())


def rewrite_and_set_the_time_back(path):
    state = path.stat()
    rewrite_in_place(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("change", [replace_by_renaming, rewrite_in_place, rewrite_and_set_the_time_back, os.remove])
def test_a_change_is_noticed(path, change):
    with pytest.raises(TracediffError, match="changed while it was read"), unchanged(path):
        change(path)


@pytest.mark.parametrize("change", [replace_by_renaming, rewrite_in_place])
def test_a_change_explains_what_else_went_wrong(path, change):
    with pytest.raises(TracediffError, match="changed while it was read"), unchanged(path):
        change(path)
        raise TracediffError("the file is damaged")


def test_a_file_in_a_folder_is_noticed(tmp_path):
    (tmp_path / "StringIds.parquet").write_bytes(b"one")
    with pytest.raises(TracediffError, match="changed while it was read"), unchanged(tmp_path):
        (tmp_path / "StringIds.parquet").write_bytes(b"two")


def test_reading_is_no_change_and_errors_pass_through(path, tmp_path):
    with unchanged(path):
        path.read_bytes()
    with pytest.raises(TracediffError, match="damaged"), unchanged(path):
        raise TracediffError("damaged")
    with unchanged(tmp_path / "missing"):
        pass


@pytest.mark.parametrize("change", [replace_by_renaming, rewrite_in_place])
def test_two_traces_are_never_mixed(path, monkeypatch, change):
    of_page_file = sqlite_export.PageFile.rows

    def rows(self, *arguments):
        yield from of_page_file(self, *arguments)
        change(path)

    monkeypatch.setattr(sqlite_export.PageFile, "rows", rows)
    with pytest.raises(TracediffError, match="changed while it was read"):
        read_trace(path)
