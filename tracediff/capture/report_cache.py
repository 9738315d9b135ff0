"""Export an nsys report (`.nsys-rep`) with the nsys that is found here, once.

What is kept is a clean copy of the export in the user's cache: the tables a kernel table is made of, and of the strings
only those they use. The export itself, which holds the environment of the profiled process, is removed at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tracediff.capture.command import export_command
from tracediff.capture.find_nsys import HOW_TO_GET_NSYS, Nsys, nsys_candidates, read_version
from tracediff.errors import TracediffError

_TABLES = (
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
    "CUDA_GRAPH_NODE_EVENTS",
    "NVTX_EVENTS",
    "TARGET_INFO_GPU",
)
_DESCRIPTIONS = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_NAMES = {"CUPTI_ACTIVITY_KIND_KERNEL": "demangledName", "NVTX_EVENTS": "textId"}


def cache_folder() -> Path:
    """Return where exports are kept (`$XDG_CACHE_HOME/tracediff/exports`); it may not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tracediff" / "exports"


def exported(report: Path, progress: Callable[[str], None], folder: Path | None = None) -> Path:
    """Return the SQLite export of a report, made now or earlier.

    Args:
        report: An nsys report.
        progress: Called with what is being done.
        folder: Where exports are kept; the user's cache unless named.

    Raises:
        TracediffError: The report is missing, no nsys runs here, or it cannot export the report.
    """
    try:
        state = report.stat()
        identity = f"{report.resolve()}\0{state.st_size}\0{state.st_mtime_ns}"
    except OSError as error:
        raise TracediffError(f"{report}: {error.strerror or error}", "check the path") from None
    folder = folder or cache_folder()
    kept = folder / f"{report.stem}-{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:16]}.sqlite"
    if kept.is_file():
        return kept
    nsys = _any_nsys(report)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as temporary:
            whole, clean = Path(temporary) / "whole.sqlite", Path(temporary) / "clean.sqlite"
            progress(f"exporting {report.name} with nsys {nsys.version}")
            _export(nsys, report, whole)
            progress(f"keeping what a kernel table needs of {report.name}")
            _keep_needed(whole, clean)
            clean.replace(kept)
    except OSError as error:
        raise TracediffError(f"cannot write {folder}", error.strerror or str(error)) from error
    except sqlite3.Error as error:
        raise TracediffError(f"nsys's export of {report} cannot be read ({error})", "export it yourself") from error
    return kept


def _any_nsys(report: Path) -> Nsys:
    for path in nsys_candidates():
        with contextlib.suppress(TracediffError):
            return read_version(path)
    raise TracediffError(
        f"{report} is a report, and no nsys runs here that could export it",
        f"export it where nsys is (nsys export --type sqlite {report.name}), or {HOW_TO_GET_NSYS}",
    )


def _export(nsys: Nsys, report: Path, output: Path) -> None:
    done = subprocess.run(
        export_command(nsys.path, report.resolve(), output),
        cwd=output.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0 or not output.is_file():
        lines = [line.strip() for line in done.stdout.replace("\r", "\n").splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "Processing" not in line), "it said nothing")
        raise TracediffError(
            f"nsys {nsys.version} cannot export {report} ({said[:200]})",
            "a report is read by the nsys that wrote it or a newer one",
        )


def _keep_needed(source: Path, target: Path) -> None:
    """Copy the tables that are read, and the strings they use, into a new database."""
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("ATTACH DATABASE ? AS source", (f"{source.as_uri()}?mode=ro",))
        there = dict(connection.execute("SELECT name, sql FROM source.sqlite_master").fetchall())
        connection.execute("BEGIN")
        for table in (*_TABLES, *_DESCRIPTIONS, "StringIds"):
            if table in there:
                connection.execute(there[table])
                connection.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table} WHERE {_rows(table, there)}")
        connection.execute("COMMIT")


def _rows(table: str, there: dict[str, str]) -> str:
    """Return the condition for the rows that are kept of a table."""
    if table == "StringIds":
        used = [f"SELECT {column} FROM source.{name}" for name, column in _NAMES.items() if name in there]
        return f"id IN ({' UNION '.join(used) or 'SELECT NULL'})"
    if table in _DESCRIPTIONS:
        return "name LIKE 'EXPORT_PRODUCT%' OR name LIKE 'EXPORT_SCHEMA%'"
    return "1"
