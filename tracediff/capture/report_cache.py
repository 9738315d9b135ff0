"""Export an nsys report (`.nsys-rep`) with the nsys that is found here, once.

What is kept is a clean copy of the export in the user's cache, made by the allow-list of a capture. The export itself,
which holds the environment of the profiled process, is removed at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tracediff.capture.command import export_command
from tracediff.capture.find_nsys import HOW_TO_GET_NSYS, Nsys, nsys_candidates, read_version
from tracediff.capture.kept import DOMAIN_CREATED, GRAPH_NODES, MARK, NVTX, PUSH_POP, START_END, clean_copy, in_list
from tracediff.errors import TracediffError
from tracediff.processes import run_program
from tracediff.temporary import temporary_folder

#: Raised whenever the allow-list changes, so that what an older version kept is not read.
_WHAT_IS_KEPT = 2


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
        identity = f"{_WHAT_IS_KEPT}\0{report.resolve()}\0{state.st_size}\0{state.st_mtime_ns}"
    except OSError as error:
        raise TracediffError(f"{report}: {error.strerror or error}", "check the path") from None
    folder = folder or cache_folder()
    kept = folder / f"{report.stem}-{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:16]}.sqlite"
    if kept.is_file():
        return kept
    nsys = _any_nsys(report)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with temporary_folder("export", folder) as temporary:
            whole, clean = temporary / "whole.sqlite", temporary / "clean.sqlite"
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
    done = run_program(export_command(nsys.path, report.resolve(), output), folder=output.parent)
    if done.code != 0 or not output.is_file():
        lines = [line.strip() for line in done.output.replace("\r", "\n").splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "Processing" not in line), "it said nothing")
        raise TracediffError(
            f"nsys {nsys.version} cannot export {report} ({said[:200]})",
            "a report is read by the nsys that wrote it or a newer one",
        )


def _keep_needed(source: Path, target: Path) -> None:
    """Copy what a kernel table is made of: of every process, since any program may have been recorded."""
    with clean_copy(source, target) as copy:
        copy.copy_gpu_work()
        copy.copy_launches()
        copy.copy(NVTX, f"eventType IN {in_list((PUSH_POP, START_END, MARK, DOMAIN_CREATED))}")
        copy.copy(GRAPH_NODES)
        copy.copy_descriptions()
        copy.copy_strings()
