"""The events of a Chrome trace, one by one: a trace of gigabytes is never held whole, as text or as objects."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tracediff.errors import TracediffError

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
#: What stands before the events is a page at most, and so is one event.
_LONGEST = 64 << 20
_GAP = re.compile(r"[ \t\r\n,]*+")
_EVENTS = '"traceEvents"'


def is_json_trace(head: bytes) -> bool:
    """Whether a file that begins so may be a Chrome trace, compressed or not."""
    return head.startswith(_GZIP_MAGIC) or head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"["}


@contextmanager
def open_events(path: Path) -> Iterator[tuple[dict[str, Any], Iterator[dict[str, Any]]]]:
    """Open a Chrome trace; yields what stands before its events (`deviceProperties`, …) and an iterator over them.

    Raises:
        TracediffError: The file is no such trace, is damaged or cut short; iterating raises it as well.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
        with gzip.open(path) if compressed else path.open("rb") as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace")
            reader = _Reader(path, text)
            yield reader.head(), reader.events()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TracediffError(f"{path} is damaged or cut short ({error})", "record or copy it again") from error
    except OSError as error:
        raise TracediffError(f"{path} cannot be read", error.strerror or str(error)) from error


class _Reader:
    def __init__(self, path: Path, text: TextIO) -> None:
        self._path = path
        self._text = text
        self._buffer = ""
        self._decoder = json.JSONDecoder()

    def _more(self, size: int = _CHUNK) -> bool:
        read = self._text.read(size)
        self._buffer += read
        return bool(read)

    def head(self) -> dict[str, Any]:
        """Return the members before the events, and stand before the first event."""
        while _EVENTS not in self._buffer:
            begin = self._buffer.lstrip()
            if begin.startswith("["):
                self._buffer = begin[1:]
                return {}
            if (begin and not begin.startswith("{")) or len(self._buffer) > _LONGEST or not self._more():
                raise self._no_trace()
        before, _, self._buffer = self._buffer.partition(_EVENTS)
        while "[" not in self._buffer[:64] and len(self._buffer) < 64 and self._more():
            pass
        colon, _, self._buffer = self._buffer.partition("[")
        try:
            head = json.loads(f'{before}"traceEvents": []}}')
        except (ValueError, RecursionError):
            raise self._no_trace() from None
        if colon.strip() != ":" or not isinstance(head, dict):
            raise self._no_trace()
        return head

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield each event that is an object."""
        position = 0
        while True:
            gap = _GAP.match(self._buffer, position)
            position = gap.end() if gap else position
            if position < len(self._buffer) and self._buffer[position] == "]":
                return
            try:
                event, position = self._decoder.raw_decode(self._buffer, position)
            except RecursionError:
                raise self._damaged() from None
            except ValueError:
                # Not whole yet, or not JSON: more text tells. Twice as much each time keeps the cost linear.
                self._buffer, position = self._buffer[position:], 0
                if len(self._buffer) > _LONGEST or not self._more(max(_CHUNK, len(self._buffer))):
                    raise self._damaged() from None
                continue
            if isinstance(event, dict):
                yield event

    def _no_trace(self) -> TracediffError:
        return TracediffError(f"{self._path} is JSON or gzip, but no PyTorch profiler trace", "name a trace")

    def _damaged(self) -> TracediffError:
        return TracediffError(f"{self._path} is damaged or cut short", "record it again, or copy it whole")
