"""`read_trace`: from a file of any known kind to a kernel table."""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from tracediff.trace.file_head import is_json_trace, read_head
from tracediff.trace.file_state import unchanged
from tracediff.trace.info import manifest_note
from tracediff.trace.naming import Naming
from tracediff.trace.nsys_sqlite import read_nsys_sqlite
from tracediff.trace.saved import is_saved, read_saved
from tracediff.trace.table import KernelTable

_REPORTS = frozenset({".nsys-rep", ".qdrep"})


def read_trace(
    path: str | Path, naming: Naming | None = None, export: Callable[[Path], Path] | None = None
) -> KernelTable:
    """Read the kernel table of a trace: an nsys export (SQLite, Parquet folder) or report, or a PyTorch profiler trace.

    Args:
        path: The trace.
        naming: What the user says of the ranges in it.
        export: Makes an SQLite export of an nsys report; without it reports are refused.

    Raises:
        TracediffError: The file is missing, damaged, not a trace, holds no kernels, or changed while it was read.
    """
    path = Path(path)
    naming = naming or Naming()
    if export is not None and path.suffix in _REPORTS and path.is_file():
        table = read_trace(export(path), naming)
        return replace(table, info=replace(table.info, path=str(path)))
    with unchanged(path):
        table = _read(path, naming)
    if naming.options:
        table = replace(table, info=replace(table.info, chosen_by=naming.options))
    # Without it batch, dtype and the evidence are missing: that is said, not guessed at.
    note = manifest_note(path)
    return table if note is None else replace(table, notes=(*table.notes, note))


def _read(path: Path, naming: Naming) -> KernelTable:
    if path.is_dir():
        from tracediff.trace.nsys_parquet import is_parquet_export, read_nsys_parquet  # noqa: PLC0415

        if is_parquet_export(path):
            return read_nsys_parquet(path, naming)
    head = read_head(path)
    if is_saved(head):
        return read_saved(path)
    if is_json_trace(head):
        from tracediff.trace.torch_json import read_torch_json  # noqa: PLC0415 -- nsys's users need no JSON

        return read_torch_json(path, naming)
    return read_nsys_sqlite(path, naming)
