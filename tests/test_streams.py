"""Standard input and output that are closed, and input without an end, are one line."""

import io
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracediff.errors import TracediffError
from tracediff.streams import lines_within, read_within

MB = 1 << 20


def test_text_is_read_to_its_end():
    assert read_within(io.BytesIO(b"x" * MB), MB) == b"x" * MB
    with pytest.raises(TracediffError, match="the text is longer than 1 MB"):
        read_within(io.BytesIO(b"x" * (MB + 1)), MB)


def test_lines_end_as_on_any_system():
    content = "a\nb\r\nc\rd\n\n\u2028e".encode() + b"\xff"
    assert list(lines_within(io.BytesIO(content), MB)) == ["a", "b", "c", "d", "", "\u2028e\ufffd"]


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xc3\xa9", b"\xff", b" "])), st.integers(1, 4))
def test_lines_are_the_same_however_much_is_taken_at_once(pieces, block):
    content = b"".join(pieces)
    one_by_one = [
        part
        for line in io.BytesIO(content)
        for part in line.decode("utf-8", errors="replace").rstrip("\r\n").split("\r")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracediff.streams._BLOCK", block)
        assert list(lines_within(io.BytesIO(content), MB)) == one_by_one


def test_a_line_without_an_end_is_not_kept_whole():
    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.given += len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(TracediffError, match="a line is longer than 1 MB"):
        next(lines_within(io.BufferedReader(endless), MB))
    assert endless.given < 2 * MB


@pytest.mark.parametrize(
    ("words", "closed", "stream"),
    [
        ("name -", "<&-", "input"),
        ("lattice -", "<&-", "input"),
        ("name sgemm", ">&-", "output"),
        ("lattice - --format json", ">&-", "output"),
    ],
)
def test_a_closed_stream_is_one_line(words, closed, stream):
    command = f"echo '[1.5, 1.25]' | {sys.executable} -m tracediff {words} {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"tracediff: standard {stream} is closed: ")
    assert done.stderr.count("\n") == 1


def test_a_terminal_without_width_is_given_some():
    command = [sys.executable, "-m", "tracediff", "lattice", "-"]
    shown = [
        subprocess.run(
            command, input=b"[1.5, 1.25]", env={"COLUMNS": columns}, capture_output=True, check=True
        ).stdout.split()
        for columns in ("0", "1")
    ]
    assert shown[0] == shown[1]
    assert {b"The", b"ULP"} <= set(shown[0])
