"""Load a trace for a command: reports of nsys are exported first, and their path stays the one the user named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracediff.trace import KernelTable


def load_trace(path: Path) -> KernelTable:
    """Read any kind of trace.

    Raises:
        TracediffError: It cannot be read; the message says why.
    """
    from tracediff.trace import read_trace

    if path.suffix not in {".nsys-rep", ".qdrep"} or not path.is_file():
        return read_trace(path)
    from tracediff.capture.report_cache import exported
    from tracediff.cli.options import say

    table = read_trace(exported(path, say))
    return replace(table, info=replace(table.info, path=str(path)))
