"""Check what a GGUF file states before anything is read by it.

gguf's own reader believes every count, length and offset: an array of 2⁶⁰ numbers takes all memory, and what lies
behind the end of the file reads as nothing. The layout is that of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: magic, version, counts, keys with values, descriptions of
tensors, data. All numbers are little-endian.
"""

from __future__ import annotations

import math
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tracediff.errors import TracediffError
from tracediff.text import count, printable, shorten

_MAGIC = b"GGUF"
_LFS_POINTER = b"version https://git-lfs"
_VERSIONS = (2, 3)
#: Of a number of each type of value, as `struct` writes it. Two types have a length of their own.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_UINT32 = 4
#: The least bytes that one of these takes.
_SMALLEST_VALUE = 8 + 4 + 1
_SMALLEST_TENSOR = 8 + 4 + 8 + 4 + 8
_SMALLEST_TEXT = 8
_MOST_DIMENSIONS = 4
_BLOCK = re.compile(r"blk\.([0-9]{1,9})\.", re.ASCII)
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
#: More keys, tensors and elements of arrays than any vocabulary has; gguf's reader makes several objects of each.
_MOST_ENTRIES = 1 << 23
_LONGEST_TEXT = 1 << 24
_LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """What the header states of one tensor.

    Attributes:
        name: As GGUF names it: `blk.0.attn_q.weight`.
        shape: Sizes, the fastest varying first.
        type: Number of the type of its elements (`gguf.GGMLQuantizationType`).
        offset: Place of its first byte, counted from where the data begin.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the header of a GGUF file states.

    Attributes:
        values: Numbers and texts by key. Arrays are left out.
        tensors: In the order of the file.
        data_start: Where the tensors' data begin, in bytes.
    """

    values: dict[str, float | str]
    tensors: tuple[GgufTensor, ...]
    data_start: int

    @property
    def elements(self) -> int:
        """How many elements all tensors have."""
        return sum(tensor.elements for tensor in self.tensors)


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file whose every statement fits the file.

    Takes time and memory in proportion to the header, whatever it states.

    Raises:
        TracediffError: It is none, is cut off, contradicts itself, or has a type of tensor that is not known here.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path).header()
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error


class _Reader:
    """Reads a file from its beginning, and never more than is there."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._size = os.fstat(file.fileno()).st_size
        self._at = self._entries = 0

    def header(self) -> GgufHeader:
        self._magic_and_version()
        tensors, values = self._unpack("Q"), self._unpack("Q")
        self._require_entries(f"{count(tensors, 'tensor')}", tensors, _SMALLEST_TENSOR)
        self._require_entries(f"{count(values, 'value')}", values, _SMALLEST_VALUE)
        found = self._values(values)
        described = self._tensors(tensors)
        alignment = found.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self._damaged(f"{_ALIGNMENT} is {_quoted(alignment)}, no power of two")
        header = GgufHeader(found, described, -(-self._at // alignment) * alignment)
        self._check_places(header, alignment)
        self._check_sizes(header)
        return header

    def _magic_and_version(self) -> None:
        start = self._file.read(len(_LFS_POINTER))
        self._file.seek(len(_MAGIC))
        self._at = len(_MAGIC)
        if start == _LFS_POINTER:
            raise TracediffError(f"{self._path} is a pointer of Git LFS", "fetch the file itself with `git lfs pull`")
        if not start.startswith(_MAGIC):
            raise TracediffError(f"{self._path} is not a GGUF file", "give one, or a directory in transformers' layout")
        version = self._unpack("I")
        if version & 0xFFFF == 0 and version >> 16:
            raise TracediffError(f"{self._path} is a GGUF file of a big-endian machine", "give a little-endian one")
        if version not in _VERSIONS:
            known = " and ".join(map(str, _VERSIONS))
            raise TracediffError(f"{self._path} is of version {version} of GGUF", f"versions {known} can be read")

    def _values(self, number: int) -> dict[str, float | str]:
        found: dict[str, float | str] = {}
        keys: set[str] = set()
        for _ in range(number):
            key = self._text("a key")
            if key in keys:
                raise self._damaged(f"{_quoted(key)} stands there twice")
            keys.add(key)
            kind = self._unpack("I")
            if kind == _ARRAY:
                self._skip_array(key)
            elif kind == _TEXT:
                found[key] = self._text(_quoted(key))
            else:
                found[key] = self._number(key, kind)
        return found

    def _number(self, key: str, kind: int) -> float:
        if kind not in _NUMBERS:
            raise self._damaged(f"{_quoted(key)} is of type {kind}, which GGUF does not have")
        value: float = self._unpack(_NUMBERS[kind])
        if not math.isfinite(value):
            raise self._damaged(f"{_quoted(key)} is {value}")
        if key == _ALIGNMENT and kind != _UINT32:
            raise self._damaged(f"{_ALIGNMENT} is of type {kind}")
        return value

    def _skip_array(self, key: str) -> None:
        kind, length = self._unpack("I"), self._unpack("Q")
        if kind != _TEXT and kind not in _NUMBERS:
            raise self._damaged(f"{_quoted(key)} is an array of type {kind}, which cannot be read")
        smallest = _SMALLEST_TEXT if kind == _TEXT else struct.calcsize(_NUMBERS[kind])
        self._require_entries(f"{count(length, 'element')} of {_quoted(key)}", length, smallest)
        if kind == _TEXT:
            for _ in range(length):
                self._text(_quoted(key))
        else:
            self._take(length * smallest)

    def _require_entries(self, what: str, number: int, smallest: int) -> None:
        """Raise where the rest of the file cannot hold so many entries, or no model has so many."""
        self._entries += number
        if number * smallest > self._size - self._at or self._entries > _MOST_ENTRIES:
            raise self._damaged(f"it states {what}")

    def _tensors(self, number: int) -> tuple[GgufTensor, ...]:
        found: dict[str, GgufTensor] = {}
        for _ in range(number):
            name = self._text("the name of a tensor")
            if name in found:
                raise self._damaged(f"tensor {_quoted(name)} stands there twice")
            dimensions = self._unpack("I")
            if not 1 <= dimensions <= _MOST_DIMENSIONS:
                raise self._damaged(f"tensor {_quoted(name)} has {count(dimensions, 'dimension')}")
            shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
            found[name] = GgufTensor(name, shape, self._unpack("I"), self._unpack("Q"))
        return tuple(found.values())

    def _check_places(self, header: GgufHeader, alignment: int) -> None:
        """Raise where a tensor is not wholly in the file."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415 -- with [capture] only

        sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
        free = header.data_start
        for tensor in sorted(header.tensors, key=lambda tensor: tensor.offset):
            name = _quoted(tensor.name)
            if tensor.type not in sizes:
                newest = max(GGMLQuantizationType)
                raise self._damaged(f"tensor {name} is of type {tensor.type}; gguf here knows types up to {newest}")
            block, block_bytes = sizes[tensor.type]
            if 0 in tensor.shape or tensor.shape[0] % block:
                raise self._damaged(f"tensor {name} has rows of {tensor.shape[0]} elements in blocks of {block}")
            start = header.data_start + tensor.offset
            end = start + tensor.elements // block * block_bytes
            if tensor.offset % alignment or start < free or end > self._size:
                raise self._damaged(f"tensor {name} is said to lie in bytes {start:,} to {end:,}")
            free = end

    def _check_sizes(self, header: GgufHeader) -> None:
        """Raise where a model is described that has other blocks or more experts than there are tensors of."""
        architecture = header.values.get("general.architecture")
        if not isinstance(architecture, str):
            raise self._damaged("it does not state general.architecture")
        largest = max((size for tensor in header.tensors for size in tensor.shape), default=0)
        self._stated(header, f"{architecture}.expert_count", largest)
        blocks = self._stated(header, f"{architecture}.block_count", len(header.tensors))
        for tensor in header.tensors:
            block = _BLOCK.match(tensor.name)
            if block and int(block[1]) >= blocks:
                raise self._damaged(f"it states {count(blocks, 'block')}, and holds {_quoted(tensor.name)}")

    def _stated(self, header: GgufHeader, key: str, most: int) -> int:
        """Return a count that the header states; each of what is counted will be made by itself."""
        stated = header.values.get(key, 0)
        if not isinstance(stated, int) or not 0 <= stated <= most:
            raise self._damaged(f"{_quoted(key)} is {_quoted(stated)}, too many for its tensors")
        return stated

    def _text(self, what: str) -> str:
        length = self._unpack("Q")
        if length > min(self._size - self._at, _LONGEST_TEXT):
            raise self._damaged(f"{what} states a length of {length:,} bytes")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"{what} is not UTF-8") from error

    def _unpack(self, code: str) -> int:
        (value,) = struct.unpack(f"<{code}", self._take(struct.calcsize(code)))
        return value  # type: ignore[no-any-return]

    def _take(self, length: int) -> bytes:
        content = self._file.read(length)
        self._at += length
        if len(content) < length:
            raise self._damaged("it ends within its header")
        return content

    def _damaged(self, why: str) -> TracediffError:
        return TracediffError(f"{self._path} is damaged ({why}; it has {self._size:,} bytes)", "fetch or make it again")


def _quoted(value: object) -> str:
    return shorten(printable(str(value)), _LONGEST_QUOTE)
