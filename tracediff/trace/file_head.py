"""The first bytes of a file, which tell what kind it is, or one line that says why it cannot be read."""

import stat
from pathlib import Path

from tracediff.errors import TracediffError

SQLITE_HEADER_BYTES = 100
_SQLITE_MAGIC = b"SQLite format 3\x00"
GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
#: A tar archive tells last what it is.
_HEAD_BYTES = 512


def read_head(path: Path) -> bytes:
    """Return the first bytes of a regular file.

    Raises:
        TracediffError: The file is missing, empty, not a regular file, or not readable.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise TracediffError(f"{path} is a directory", "name one trace in it, such as b1.sqlite")
        if not stat.S_ISREG(mode):
            raise TracediffError(f"{path} is not a regular file", "name a trace")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise TracediffError(f"{path}: no such file", "check the path") from None
    except PermissionError:
        raise TracediffError(f"{path}: permission denied", "check its permissions") from None
    except OSError as error:
        raise TracediffError(f"{path} cannot be read", error.strerror or str(error)) from error
    if not head:
        raise TracediffError(f"{path} is empty", "did the recording or its export fail?")
    return head


def is_sqlite(head: bytes) -> bool:
    """Whether a file that begins so is an SQLite database."""
    return head.startswith(_SQLITE_MAGIC)


def is_json_trace(head: bytes) -> bool:
    """Whether a file that begins so may be a Chrome trace, compressed or not."""
    return head.startswith(GZIP_MAGIC) or head.removeprefix(BOM).lstrip(b" \t\r\n")[:1] in {b"{", b"["}
