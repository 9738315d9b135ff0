"""Standard input and output, which a caller may have closed, and of which an input may have no end."""

import sys
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader
from typing import BinaryIO, TextIO, cast

from tracediff.errors import TracediffError

#: Bytes that are taken at once, if so many are there.
_BLOCK = 1 << 16


def standard_output() -> TextIO:
    """Return standard output.

    Raises:
        TracediffError: It is closed.
    """
    if sys.stdout is None:
        raise TracediffError("standard output is closed", "redirect it to a file, or do not close it")
    return sys.stdout


def standard_input() -> BufferedReader:
    """Return standard input.

    Raises:
        TracediffError: It is closed.
    """
    if sys.stdin is None:
        raise TracediffError("standard input is closed", "pipe text into it, or name a file")
    return cast(BufferedReader, sys.stdin.buffer)


def read_within(file: BinaryIO, most: int) -> bytes:
    """Read a file to its end.

    Raises:
        TracediffError: It is longer than `most` bytes.
    """
    content = file.read(most + 1)
    if len(content) > most:
        raise TracediffError(f"the text is longer than {most >> 20} MB", "give less of it")
    return content


def lines_within(file: BufferedIOBase, most: int) -> Iterator[str]:
    """Yield the lines of a file as UTF-8, whatever ends them; what is no UTF-8 reads as U+FFFD.

    Raises:
        TracediffError: A line is longer than `most` bytes.
    """
    begun = bytearray()
    while block := file.read1(_BLOCK):
        ended, newline, rest = block.rpartition(b"\n")
        if newline:
            yield from _lines(begun + ended)
            begun.clear()
        begun += rest
        if len(begun) > most:
            raise TracediffError(f"a line is longer than {most >> 20} MB", "give text with one row per line")
    if begun:
        yield from _lines(begun)


def _lines(content: bytearray) -> Iterator[str]:
    lines = content.decode("utf-8", errors="replace").split("\n")
    if b"\r" not in content:
        return iter(lines)
    return (part for line in lines for part in line.rstrip("\r").split("\r"))
