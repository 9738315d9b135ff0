"""Damaged GGUF files: what their headers state, held against gguf's own reader, and models loaded from them."""

from __future__ import annotations

import functools
import random
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fuzz_inputs import HERE, HOSTILE, damaged_bytes, few, written
from fuzz_traces import DifferError

sys.path.append(str(HERE))

from tests.model.tiny_gguf import write_gguf
from tracediff.model.gguf_header import read_gguf_header

_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    9,
    12,
    13,
    31,
    32,
    33,
    255,
    1 << 16,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 60,
    1 << 63,
    (1 << 64) - 1,
)
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _ARRAY = 8, 9


@dataclass
class _Parts:
    """A GGUF file cut into numbers and texts, each of them bytes: an entry is a key with its value, or a tensor."""

    counts: list[bytes]
    values: list[list[bytes]]
    tensors: list[list[bytes]]
    data: bytes

    def copy(self) -> _Parts:
        values, tensors = ([list(entry) for entry in entries] for entries in (self.values, self.tensors))
        return _Parts(list(self.counts), values, tensors, self.data)

    def joined(self) -> bytes:
        header = b"".join([*self.counts, *(part for entry in (*self.values, *self.tensors) for part in entry)])
        return header + b"\0" * (-len(header) % 32) + self.data


class _Cutter:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def parts(self) -> _Parts:
        counts = [self._take(4), self._take(4), self._take(8), self._take(8)]
        values = [self._value() for _ in range(_number(counts[3]))]
        tensors = [self._tensor() for _ in range(_number(counts[2]))]
        return _Parts(counts, values, tensors, self._content[self._at + -self._at % 32 :])

    def _value(self) -> list[bytes]:
        entry = [*self._text(), self._take(4)]
        kind = _number(entry[-1])
        if kind != _ARRAY:
            return entry + self._one(kind)
        entry += [self._take(4), self._take(8)]
        return entry + [part for _ in range(_number(entry[-1])) for part in self._one(_number(entry[-2]))]

    def _one(self, kind: int) -> list[bytes]:
        return self._text() if kind == _TEXT else [self._take(_WIDTHS[kind])]

    def _tensor(self) -> list[bytes]:
        entry = [*self._text(), self._take(4)]
        return [*entry, *(self._take(8) for _ in range(_number(entry[-1]))), self._take(4), self._take(8)]

    def _text(self) -> list[bytes]:
        length = self._take(8)
        return [length, self._take(_number(length))]

    def _take(self, length: int) -> bytes:
        self._at += length
        return self._content[self._at - length : self._at]


def _number(part: bytes) -> int:
    return int.from_bytes(part, "little")


@functools.cache
def _sound() -> _Parts:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        write_gguf(path, "{% for message in messages %}<{{ message['content'] }}>{% endfor %}")
        return _Cutter(path.read_bytes()).parts()


def make_gguf(folder: Path, chance: random.Random) -> Path:
    """Write a GGUF file whose header states something else than is there."""
    parts = _sound().copy()
    for _ in few(chance, 0, 1, 1, 1, 1, 2, 4):
        _change(parts, chance)
    content = parts.joined()
    if chance.random() < 0.1:
        content = damaged_bytes(bytearray(content), chance)
    if chance.random() < 0.1:
        content = content[: chance.randrange(len(content))]
    return written(folder / "t.gguf", content)


def _change(parts: _Parts, chance: random.Random) -> None:
    entries = chance.choice([parts.values, parts.tensors])
    what = chance.random()
    if what < 0.1:
        place = chance.randrange(4)
        parts.counts[place] = _other_number(parts.counts[place], chance)
    elif not entries or what < 0.2:
        _other_entries(parts, chance)
    elif what < 0.3:
        entry = chance.choice(entries)  # a text, and a length that fits it
        entry[1] = chance.choice([*(text.encode("utf-8", "surrogatepass") for text in HOSTILE), b"\xff", entry[1][:-1]])
        entry[0] = struct.pack("<Q", len(entry[1]))
    else:
        entry = chance.choice(entries)
        place = chance.randrange(min(len(entry), 12))
        entry[place] = _other_number(entry[place], chance)


def _other_number(part: bytes, chance: random.Random) -> bytes:
    if not part:
        return b"\0"
    number = chance.choice([*_NUMBERS, _number(part) + 1, _number(part) - 1, _number(part) * 2])
    if len(part) in (4, 8) and chance.random() < 0.1:
        floats = "<f" if len(part) == 4 else "<d"
        return struct.pack(floats, chance.choice([float("nan"), float("inf"), -1.0, 0.0]))
    return (number % (1 << 8 * len(part))).to_bytes(len(part), "little")


def _other_entries(parts: _Parts, chance: random.Random) -> None:
    """Leave an entry out, double or move one; the counts fit most of the time."""
    entries, place = chance.choice([(parts.values, 3), (parts.tensors, 2)])
    what, at = chance.random(), chance.randrange(len(entries) + 1)
    if what < 0.4:
        del entries[at : at + chance.choice([1, 1, 5, 100])]
    elif what < 0.7:
        entries[at:at] = [list(entry) for entry in entries[at : at + 1]]
    else:
        chance.shuffle(entries)
    if chance.random() < 0.9:
        parts.counts[place] = struct.pack("<Q", len(entries))


def check_header(path: Path, _: random.Random) -> None:
    """Read a header; gguf's own reader must find the same where it is accepted."""
    from gguf import GGUFReader  # noqa: PLC0415

    header = read_gguf_header(path)
    reader = GGUFReader(path)
    found = [(each.name, tuple(each.shape.tolist()), each.tensor_type, each.data_offset) for each in reader.tensors]
    stated = [(each.name, each.shape, each.type, header.data_start + each.offset) for each in header.tensors]
    if found != stated:
        raise DifferError(f"{found} != {stated}"[:2000])
    for key, value in header.values.items():
        if reader.fields[key].contents() != value:
            raise DifferError(f"{key}: {reader.fields[key].contents()} != {value}"[:2000])


def check_weights(path: Path, _: random.Random) -> None:
    """Load a model, and run a prompt of its tokenizer."""
    from tracediff.model.load import load_model, prompt_tokens  # noqa: PLC0415 -- with torch
    from tracediff.model.spec import ModelSpec  # noqa: PLC0415

    spec = ModelSpec(name=str(path))
    model = load_model(spec, "cpu")
    model(prompt_tokens(spec, model, text="hello", chat=True))
