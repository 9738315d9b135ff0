"""`read_trace`: from a file of any known kind to a kernel table."""

from dataclasses import replace
from pathlib import Path

from tracediff.trace.file_head import is_json_trace, read_head
from tracediff.trace.file_state import unchanged
from tracediff.trace.info import manifest_note
from tracediff.trace.naming import Naming
from tracediff.trace.nsys_sqlite import read_nsys_sqlite
from tracediff.trace.table import KernelTable


def read_trace(path: str | Path, naming: Naming | None = None) -> KernelTable:
    """Read the kernel table of the trace at `path`: an nsys export (SQLite, Parquet) or a PyTorch profiler trace.

    Args:
        path: The trace.
        naming: What the user says of the ranges in it.

    Raises:
        TracediffError: The file is missing, damaged, no trace, or holds no kernels.
    """
    path = Path(path)
    with unchanged(path):
        table = _read(path, naming or Naming())
    # Without it batch, dtype and the evidence are missing: that is said, not guessed at.
    note = manifest_note(path)
    return table if note is None else replace(table, notes=(*table.notes, note))


def _read(path: Path, naming: Naming) -> KernelTable:
    if path.is_dir():
        from tracediff.trace.nsys_parquet import is_parquet_export, read_nsys_parquet  # noqa: PLC0415

        if is_parquet_export(path):
            return read_nsys_parquet(path, naming)
    if is_json_trace(read_head(path)):
        from tracediff.trace.torch_json import read_torch_json  # noqa: PLC0415 -- nsys's users need no JSON

        return read_torch_json(path, naming)
    return read_nsys_sqlite(path, naming)
