"""`read_trace`: from a file of any known kind to a kernel table."""

from pathlib import Path

from tracediff.trace.nsys_sqlite import read_nsys_sqlite
from tracediff.trace.table import KernelTable


def read_trace(path: str | Path) -> KernelTable:
    """Read the kernel table of the trace at `path`.

    Raises:
        TracediffError: The file is missing, damaged, no trace, or holds no kernels.
    """
    return read_nsys_sqlite(Path(path))
