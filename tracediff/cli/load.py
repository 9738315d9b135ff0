"""Load a trace for a command: reports of nsys are exported first, and their path stays the one the user named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracediff.trace import KernelTable, Naming


def load_trace(path: Path, naming: Naming | None = None) -> KernelTable:
    """Read any kind of trace.

    Args:
        path: The trace, or a report of nsys.
        naming: What the user says of the ranges in it.

    Raises:
        TracediffError: It cannot be read; the message says why.
    """
    from tracediff.trace import read_trace

    if path.suffix not in {".nsys-rep", ".qdrep"} or not path.is_file():
        return read_trace(path, naming)
    from tracediff.capture.report_cache import exported
    from tracediff.cli.options import say

    table = read_trace(exported(path, say), naming)
    return replace(table, info=replace(table.info, path=str(path)))
