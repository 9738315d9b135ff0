"""Writing files: never over another one unasked, never half a file, only ever in place of a regular file."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading

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
    with pytest.raises(TracediffError, match="not a directory"):
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


@pytest.mark.parametrize("name", ["manifest.json", "b1.sqlite", "b1.repeat2.sqlite", "evidence.json"])
def test_a_file_of_a_capture_is_never_replaced_even_by_force(tmp_path, name):
    manifest = {"traces": [{"file": "b1.sqlite", "batch": 1, "repeat_file": "b1.repeat2.sqlite"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    path = tmp_path / name
    path.touch()
    before = path.read_text()
    with pytest.raises(TracediffError, match="belongs to a capture"):
        write_text(path, "x", force=True)
    assert path.read_text() == before
    write_text(tmp_path / "report.html", "x")
    write_text(tmp_path / "report.html", "y", force=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"traces": 3}', '{"traces": [3]}', '{"name": "web app"}'])
def test_a_manifest_of_something_else_is_a_file_like_any(tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_text(content)
    write_text(path, "new", force=True)
    assert path.read_text() == "new"


@pytest.mark.parametrize("force", [True, False])
def test_a_fifo_receives_the_content_and_stays(tmp_path, force):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    received = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    write_text(path, "through", force)
    reader.join(timeout=10)
    assert received == [b"through"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_through_wherever_it_goes(tmp_path, name):
    code = f"from pathlib import Path; from tracediff.files import write_text; write_text(Path({name!r}), 'text')"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)
    assert piped.stdout == b"text"
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before ")
        file.flush()
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True, cwd=tmp_path)
    assert (tmp_path / "out").read_bytes() == b"before text"


def test_a_socket_is_refused(tmp_path):
    import socket

    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(TracediffError, match="not a regular file"):
            write_text(path, "x", force=True)


def test_through_a_symbolic_link_its_target_is_replaced(tmp_path):
    target = tmp_path / "target.txt"
    target.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    write_text(link, "new", force=True)
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_umask_allows(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "out.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o666 & ~umask


def test_a_replaced_file_keeps_its_mode(tmp_path):
    path = tmp_path / "secret.txt"
    path.touch(mode=0o600)
    write_text(path, "new", force=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


WRITER = """
import sys, time
from pathlib import Path
from tracediff import __main__ as program
from tracediff.files import replaced_when_complete

def app(prog_name):
    with replaced_when_complete(Path(sys.argv[1])) as temporary:
        temporary.write_text("half")
        Path(f"{temporary}-journal").write_text("SQLite's")
        print("writing", flush=True)
        time.sleep(60)

import tracediff.cli
tracediff.cli.app = app
program.main()
"""


@pytest.fixture
def killed_writer(tmp_path):
    """Return a function that kills a process while it writes `out.txt`, and the folder."""

    def kill(number):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "out.txt")], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout.readline() == "writing\n"
            process.send_signal(number)
            return process.wait(timeout=30)

    return kill


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_stays_behind_a_writer_that_was_told_to_end(tmp_path, killed_writer, number):
    assert killed_writer(number) != 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path, killed_writer):
    killed_writer(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "other.txt", "x")
    assert [each.name for each in tmp_path.iterdir()] == ["other.txt"]


def test_a_writer_leaves_alone_what_another_is_writing(tmp_path):
    with replaced_when_complete(tmp_path / "a.txt") as first:
        first.write_text("a")
        write_text(tmp_path / "b.txt", "b")
        assert first.read_text() == "a"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_a_name_that_no_file_can_have_is_one_line_of_trouble(tmp_path):
    with pytest.raises(TracediffError, match="cannot write") as caught:
        write_text(tmp_path / ("x" * 300), "text")
    assert "\n" not in str(caught.value)


def test_a_long_name_that_a_file_can_have_is_written(tmp_path):
    write_text(tmp_path / ("x" * 250), "text")
    assert (tmp_path / ("x" * 250)).read_text() == "text"


def test_lone_surrogates_do_not_stop_a_writer(tmp_path):
    write_text(tmp_path / "out.txt", "a\ud800b")
    assert (tmp_path / "out.txt").read_text() == "a?b"


def test_symbolic_links_in_a_circle_are_one_line_and_stay(tmp_path):
    path = tmp_path / "a"
    path.symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for write in (lambda: refuse_to_overwrite(path, force=True), lambda: write_text(path, "x", force=True)):
        with pytest.raises(TracediffError, match=r"cannot write .*a: Too many levels of symbolic links"):
            write()
    assert path.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b"]
