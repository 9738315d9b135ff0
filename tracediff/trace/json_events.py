"""The events of a Chrome trace, batch by batch: a trace of gigabytes is never held whole, as text or as objects.

A batch is decoded at once, and every field that is used has its type and range checked there. A batch that ends
`}, {` may end inside an event; that it decodes as a JSON array proves that it does not, because what comes before the
cut decides what the cut means. Where a batch does not decode, its events are taken one by one, and those of a kind
that is wanted are counted where they are malformed; the fields that are wrong then read as missing.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from tracediff.errors import TracediffError
from tracediff.text import without_surrogates
from tracediff.trace.file_head import BOM, GZIP_MAGIC, is_json_trace
from tracediff.trace.foreign import not_a_chrome_trace, not_a_trace
from tracediff.trace.limits import MAX_EVENT, MAX_UNPACKED, limit_bytes

_CHUNK = 1 << 20
#: A file may unpack to this times its size, or to `MAX_UNPACKED` if that is more; real traces shrink 8- to 40-fold.
_UNPACKED_TIMES = 100
_EVENTS = b'"traceEvents"'
#: Places that are looked at for the end of an event, or for the events of the outermost object.
_MOST_TRIES = 100
#: No parser follows JSON deeper than about this.
_DEEPEST = 1000
_SPACE = b" \t\r\n"
_BETWEEN = _SPACE + b","
_OPENING = re.compile(rb"\s*:\s*\[")
#: Not in a text: its quotes would be escaped.
_MORE_EVENTS = re.compile(rb'"traceEvents"\s*+:\s*+\[')
_LONGEST_OPENING = 64
#: Whole strings, brackets, and a quote whose string does not end.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]"]', re.DOTALL)
#: What may come between events: commas, and values that are no objects.
_GAP = re.compile(rb'(?:[\s,]++|null|true|false|NaN|-?Infinity|-?[\d.eE+-]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)

E = TypeVar("E")

Time = Annotated[float, msgspec.Meta(ge=-4e15, le=4e15)]
Size = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
Identity = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]


class Arguments(msgspec.Struct, gc=False):
    """What is used of an event's `args`."""

    correlation: Identity | None = None
    device: Size | None = None
    stream: Size | None = None
    registers: Size | None = msgspec.field(default=None, name="registers per thread")
    shared: Size | None = msgspec.field(default=None, name="shared memory")
    grid: Annotated[list[Size], msgspec.Meta(max_length=3)] | None = None
    block: Annotated[list[Size], msgspec.Meta(max_length=3)] | None = None


class Event(msgspec.Struct, gc=False):
    """What is used of an event. Times are in µs, as far as the event has some."""

    ph: str = ""
    cat: str = ""
    name: str = ""
    ts: Time | None = None
    dur: Time = 0.0
    pid: int | float | str | None = None
    tid: int | float | str | None = None
    args: Arguments | None = None


class _Kind(msgspec.Struct):
    """The fields that decide whether an event is wanted."""

    ph: object = None
    cat: object = None


class ChromeTrace(Generic[E]):
    """An open Chrome trace whose events are decoded as `E`.

    Attributes:
        head: The members before the events (`deviceProperties`, …).
        malformed: Wanted events with a field of another type or beyond its range, so far.
        complaint: What is wrong with the first of them.
        begin: The first part of the file.
    """

    def __init__(self, path: Path, read: Callable[[int], bytes], event: type[E]) -> None:
        self._path = path
        self._read = read
        self._buffer = b""
        self._at_end = False
        self._done = False
        self._longest = limit_bytes(MAX_EVENT)
        self._event = event
        self._batches = msgspec.json.Decoder(list[event])  # type: ignore[valid-type]
        self._events = msgspec.json.Decoder(event)
        self._kinds = msgspec.json.Decoder(_Kind)
        self._raw = msgspec.json.Decoder(list[msgspec.Raw])
        self.begin = b""
        self.malformed = 0
        self.complaint = ""
        self.head = self._read_head()

    def _more(self, size: int = _CHUNK) -> bool:
        if not self._at_end:
            read = self._read(size)
            self._buffer += read
            self.begin = self.begin or read
            self._at_end = not read
        return not self._at_end

    def _read_head(self) -> dict[str, Any]:
        """Return the members before the events, and leave the first event next in the buffer."""
        while not self._buffer.lstrip(_SPACE) and self._more():
            self._buffer = self._buffer.removeprefix(BOM)
        begin = self._buffer.lstrip(_SPACE)
        if begin.startswith(b"["):
            self._buffer = begin[1:]
            return {}
        searched = tries = 0
        while begin.startswith(b"{") and tries < _MOST_TRIES:
            at = self._buffer.find(_EVENTS, searched)
            if at < 0:
                searched = max(len(self._buffer) - len(_EVENTS), 0)
                if len(self._buffer) > self._longest or not self._more():
                    break
                continue
            while len(self._buffer) < at + 64 and self._more():
                pass
            opening = _OPENING.match(self._buffer, at + len(_EVENTS))
            head = _parsed(self._buffer[:at] + _EVENTS + b": []}") if opening else None
            if opening and isinstance(head, dict):
                self._buffer = self._buffer[opening.end() :]
                return head
            searched, tries = at + 1, tries + 1  # those of an object inside
        raise not_a_chrome_trace(self._path, self._buffer)

    def batches(self, wanted: Callable[[object, object], bool]) -> Iterator[list[E]]:
        """Yield the events in the order of the file, including those that nobody wants.

        Args:
            wanted: Whether an event of this phase and category is: if it is malformed, that is counted.

        Raises:
            TracediffError: The file is damaged, cut short, or holds an event beyond `MAX_EVENT`.
        """
        size = _CHUNK
        while not self._done:
            self._more(size)
            end = self._cut()
            batch = self._decoded(end, wanted) if end else None
            if batch is None:
                batch, end = self._one_by_one(wanted)
            self._buffer = self._buffer[end:].lstrip(_BETWEEN)
            yield batch
            if len(self._buffer) > self._longest:
                raise TracediffError(
                    f"{self._path} is damaged, or holds an event longer than {self._longest >> 20} MB",
                    f"if it is meant to, set {MAX_EVENT}",
                )
            # An event that is not whole yet: twice as much each time keeps the cost linear.
            size = max(_CHUNK, len(self._buffer))

    def _cut(self) -> int:
        """Return where in the buffer an event probably ends, 0 if nowhere."""
        at = len(self._buffer)
        for _ in range(_MOST_TRIES):
            at = self._buffer.rfind(b"{", 0, at)
            if at < 0:
                return 0
            comma = self._buffer[max(at - 64, 0) : at].rstrip(_SPACE)
            before = comma[:-1].rstrip(_SPACE)
            if comma.endswith(b",") and before.endswith(b"}"):
                return max(at - 64, 0) + len(before)
        return 0

    def _decoded(self, end: int, wanted: Callable[[object, object], bool]) -> list[E] | None:
        """Return the events up to a place in the buffer, None where that is no JSON array."""
        text = b"[%b]" % self._buffer[:end].lstrip(_BETWEEN)
        try:
            return self._batches.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:  # perhaps it is one, and only a field is malformed
            events = self._raw.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return [event for raw in events for event in self._one(bytes(raw), wanted)]

    def _one_by_one(self, wanted: Callable[[object, object], bool]) -> tuple[list[E], int]:
        """Return the events that are whole in the buffer, and where the last one ends."""
        found: list[E] = []
        depth = begin = end = 0
        for token in _TOKEN.finditer(self._buffer):
            text = token[0]
            if text == b'"':
                break
            if text in b"{[":
                if depth == 0:
                    begin = token.start()
                    self._require_gap(end, begin)
                depth += 1
                if depth > _DEEPEST:
                    raise self._damaged()
            elif text in b"}]":
                depth -= 1
                if depth < 0:  # the array of events ends here
                    self._require_gap(end, token.start())
                    self._done = True
                    self._read_tail(token.end())
                    return found, len(self._buffer)
                if depth == 0:
                    end = token.end()
                    found += self._one(self._buffer[begin:end], wanted)
        if self._at_end:
            raise self._damaged()
        return found, end

    def _read_tail(self, begin: int) -> None:
        """Read what follows the events, so that a compressed file is checked to its end."""
        tail = self._buffer[begin:]
        while _MORE_EVENTS.search(tail) is None:
            read = self._read(_CHUNK)
            if not read:
                return
            tail = tail[-_LONGEST_OPENING:] + read
        raise TracediffError(f"{self._path} holds two lists of events", "record it again: one would be lost")

    def _one(self, text: bytes, wanted: Callable[[object, object], bool]) -> list[E]:
        """Return the event of this text, none for an array or what is not wanted."""
        try:
            return [self._events.decode(text)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:
            kind = self._kinds.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if not wanted(kind.ph, kind.cat):
                return []
        parsed = _parsed(text)
        if parsed is None:
            raise self._damaged()
        if not isinstance(parsed, dict):
            return []
        kind = msgspec.convert(parsed, _Kind, strict=False)
        if not wanted(kind.ph, kind.cat):
            return []
        try:
            return [msgspec.convert(parsed, self._event)]
        except (msgspec.ValidationError, RecursionError) as error:
            self.malformed += 1
            self.complaint = self.complaint or str(error)
            return [msgspec.convert(_well_formed(parsed, self._event), self._event)]

    def _require_gap(self, begin: int, end: int) -> None:
        found = _GAP.match(self._buffer, begin, end)
        if found is None or found.end() != end:
            raise self._damaged()

    def _damaged(self) -> TracediffError:
        return TracediffError(f"{self._path} is damaged or cut short", "record it again, or copy it whole")


@contextmanager
def open_events(path: Path, event: type[E]) -> Iterator[ChromeTrace[E]]:
    """Open a Chrome trace.

    Args:
        path: The file.
        event: What its events are decoded as: `Event`, or a dict for all that they hold.

    Raises:
        TracediffError: The file is no such trace, is damaged or cut short; iterating raises it as well.
    """
    try:
        with path.open("rb") as raw:
            if raw.read(2) != GZIP_MAGIC:
                raw.seek(0)
                yield ChromeTrace(path, raw.read, event)
                return
        with gzip.open(path, "rb") as unpacked:
            read = _Bounded(path, unpacked).read
            first = read(_CHUNK)
            if not is_json_trace(first) or first.startswith(GZIP_MAGIC):
                raise not_a_trace(path, first, compressed=True)
            unpacked.seek(0)
            yield ChromeTrace(path, _Bounded(path, unpacked).read, event)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TracediffError(f"{path} is damaged or cut short ({error})", "record or copy it again") from error
    except OSError as error:
        raise TracediffError(f"{path} cannot be read", error.strerror or str(error)) from error


class _Bounded:
    """A compressed file that is refused once it has unpacked to far more than any trace does."""

    def __init__(self, path: Path, unpacked: gzip.GzipFile) -> None:
        self._path = path
        self._unpacked = unpacked
        self._left = max(limit_bytes(MAX_UNPACKED), path.stat().st_size * _UNPACKED_TIMES)

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        content = self._unpacked.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise TracediffError(
                f"{self._path} unpacks to more than {_UNPACKED_TIMES} times its size",
                f"if it is meant to, unpack it first or set {MAX_UNPACKED}",
            )
        return content


def _parsed(text: bytes) -> Any:
    """Parse JSON leniently (NaN, lone surrogates, bytes that are not text); None if even that fails."""
    try:
        return _clean(json.loads(text.decode("utf-8", errors="replace")))
    except (ValueError, RecursionError):
        return None


def _well_formed(values: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Return the fields of a struct that have the right types and ranges."""
    found = {}
    for field in msgspec.structs.fields(kind):
        value = values.get(field.encode_name)
        if field.name == "args" and isinstance(value, dict):
            value = _well_formed(value, Arguments)
        try:
            found[field.encode_name] = msgspec.convert(value, field.type)
        except (msgspec.ValidationError, RecursionError):
            continue
    return found


def _clean(value: Any) -> Any:
    """Return parsed JSON without lone surrogates."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {without_surrogates(key): _clean(each) for key, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list) else value
