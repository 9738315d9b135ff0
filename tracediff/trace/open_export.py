"""Open an nsys SQLite export read-only, or say in one line why it cannot be read."""

import sqlite3
import time
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.text import shorten
from tracediff.trace.file_head import SQLITE_HEADER_BYTES, is_sqlite, read_head
from tracediff.trace.foreign import EXPORT_AGAIN, not_a_trace

#: What sqlite3 raises for a damaged file. sqlite3 fails to decode a message that quotes a damaged schema.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)

#: A longer text or blob is refused by SQLite: no name is, and a generated column may make one out of nothing.
_LONGEST_TEXT = 64 << 20
#: CPU time that SQLite may take for a file: reading every row of one takes a tenth of this.
_SECONDS, _BYTES_PER_SECOND = 10, 2 << 20
_INSTRUCTIONS_BETWEEN_CHECKS = 1_000_000
#: A write-ahead log holds no page before its header and a frame's.
_WAL_HEADER_BYTES = 32
#: SQLite quotes a damaged schema whole.
_LONGEST_REASON = 200


def open_export(path: Path) -> sqlite3.Connection:
    """Open an SQLite file without changing it, or creating anything beside it.

    `immutable=1` keeps SQLite from making a journal beside the file or asking for locks, but also from looking at a
    journal or a write-ahead log that is there: a file with either is refused. sqlite3's own `connect(path)` would
    create a missing file.

    Raises:
        TracediffError: There is no such file, it is not an SQLite database, it is cut short, damaged, or a write to it
            was not finished.
    """
    _check_complete(path, read_head(path))
    _require_no_unfinished_write(path)
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        # A trace is untrusted: views and triggers in it must not run functions or write anywhere.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        connection.text_factory = _text
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_TEXT)
        deadline = time.thread_time() + _SECONDS + path.stat().st_size / _BYTES_PER_SECOND
        connection.set_progress_handler(lambda: time.thread_time() > deadline, _INSTRUCTIONS_BETWEEN_CHECKS)
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
    except SQLITE_ERRORS as error:
        raise damaged(path, error) from error
    return connection


def damaged(path: Path, error: Exception, hint: str = EXPORT_AGAIN) -> TracediffError:
    """Return the error that tells the user what sqlite3 reported, and what to do."""
    if isinstance(error, UnicodeDecodeError):
        return TracediffError(f"{path} is damaged or cut short", hint)
    name = getattr(error, "sqlite_errorname", None)
    if name == "SQLITE_NOTADB":
        return TracediffError(f"{path} is not an SQLite database", hint)
    if name == "SQLITE_INTERRUPT":
        return TracediffError(f"{path} keeps SQLite busy for longer than its size explains", hint)
    if name == "SQLITE_TOOBIG":
        return TracediffError(f"{path} holds a text longer than {_LONGEST_TEXT >> 20} MB", hint)
    reason = shorten(" ".join(str(error).split()), _LONGEST_REASON)
    return TracediffError(f"{path} is damaged or cut short ({reason})", hint)


def _require_no_unfinished_write(path: Path) -> None:
    for beside in {path, path.resolve()}:
        journal, log = (beside.with_name(beside.name + suffix) for suffix in ("-journal", "-wal"))
        if _is_hot(journal):
            raise TracediffError(
                f"{path} is in the middle of a write: {journal.name} holds what SQLite would roll back",
                f"open it once with sqlite3 {path.name}, or export the report again",
            )
        if log.is_file() and log.stat().st_size > _WAL_HEADER_BYTES:
            raise TracediffError(
                f"part of {path} is in {log.name}",
                f"merge it: sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)', or export the report again",
            )


def _is_hot(journal: Path) -> bool:
    """Whether a journal may hold what SQLite would roll back; SQLite zeroes the header of one that it keeps."""
    try:
        if not journal.is_file():
            return journal.exists()
        with journal.open("rb") as file:
            return bool(file.read(1).strip(b"\0"))
    except OSError:
        return True  # it is there, and cannot be read


def _text(raw: bytes) -> str:
    # nsys writes UTF-8, but a kernel name may hold anything.
    return raw.decode("utf-8", errors="replace")


def _check_complete(path: Path, header: bytes) -> None:
    if not is_sqlite(header):
        raise not_a_trace(path, header)
    # SQLite reads the missing part of a last page as zeros.
    if path.stat().st_size < _stated_size(header):
        raise TracediffError(f"{path} is damaged or cut short", EXPORT_AGAIN)


def _stated_size(header: bytes) -> int:
    """Return the size in bytes that an SQLite header states, 0 where it does not."""
    if len(header) < SQLITE_HEADER_BYTES or header[24:28] != header[92:96]:  # written by an SQLite that keeps no count
        return 0
    page_size = int.from_bytes(header[16:18], "big")
    return (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")
