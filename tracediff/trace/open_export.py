"""Open an nsys SQLite export read-only, or say in one line why it is none."""

import sqlite3
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.trace.file_head import HEAD_BYTES, read_head

_SQLITE_MAGIC = b"SQLite format 3\x00"
_EXPORT = "export the report again: nsys export --type sqlite --output trace.sqlite report.nsys-rep"

#: What sqlite3 raises for a damaged file. It cannot decode a message in which SQLite quotes a damaged schema.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)


def open_export(path: Path) -> sqlite3.Connection:
    """Open the SQLite file `path`, unchanging and unchanged.

    `immutable=1` keeps SQLite from making a journal beside the file or asking for locks; sqlite3's own `connect(path)`
    would create a missing file.

    Raises:
        TracediffError: There is no such file, it is no SQLite database, it is cut short or damaged.
    """
    _check_complete(path, read_head(path))
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        # A trace is untrusted: views and triggers in it must not run functions or write anywhere.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        connection.text_factory = _text
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
    except SQLITE_ERRORS as error:
        raise damaged(path, error) from error
    return connection


def damaged(path: Path, error: Exception) -> TracediffError:
    """Say in one line what sqlite3 met in `path`."""
    if isinstance(error, UnicodeDecodeError):
        return TracediffError(f"{path} is damaged or cut short", _EXPORT)
    if getattr(error, "sqlite_errorname", None) == "SQLITE_NOTADB":
        return TracediffError(f"{path} is no SQLite database", _EXPORT)
    reason = " ".join(str(error).split())
    return TracediffError(f"{path} is damaged or cut short ({reason})", _EXPORT)


def _text(raw: bytes) -> str:
    # nsys writes UTF-8, but a kernel name may hold anything.
    return raw.decode("utf-8", errors="replace")


def _check_complete(path: Path, header: bytes) -> None:
    if not header.startswith(_SQLITE_MAGIC):
        raise _not_sqlite(path, header[: len(_SQLITE_MAGIC)])
    # SQLite reads the missing part of a last page as zeros.
    if path.stat().st_size < _stated_size(header):
        raise TracediffError(f"{path} is damaged or cut short", _EXPORT)


def _stated_size(header: bytes) -> int:
    """Return the size in bytes that an SQLite header states, 0 where it does not."""
    if len(header) < HEAD_BYTES or header[24:28] != header[92:96]:  # written by an SQLite that keeps no count
        return 0
    page_size = int.from_bytes(header[16:18], "big")
    return (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")


def _not_sqlite(path: Path, head: bytes) -> TracediffError:
    if path.suffix in {".nsys-rep", ".qdrep"}:
        return TracediffError(
            f"{path} is a report, not an export", f"nsys export --type sqlite --output trace.sqlite {path.name}"
        )
    if path.suffix == ".qdstrm":
        return TracediffError(
            f"{path} is an unfinished recording", "import it first: nsys-ui or QdstrmImporter makes an .nsys-rep of it"
        )
    kind = "a text file" if head.strip() and all(9 <= byte < 127 for byte in head) else "no SQLite database"
    return TracediffError(f"{path} is {kind}, not a trace", _EXPORT)
