"""The flips that a capture left beside its traces."""

from pathlib import Path

from tracediff.findings.flips import FlipsResult
from tracediff.findings.flips_file import read_flips
from tracediff.measured import CAPTURED_FLIPS_FILE


def flips_beside(*traces: Path) -> FlipsResult | None:
    """Return the flips of the run whose traces these are; None where they lie in several folders or none flipped.

    Raises:
        TracediffError: The file is damaged.
    """
    folders = {trace.parent.resolve() for trace in traces}
    if len(folders) != 1:
        return None
    path = folders.pop() / CAPTURED_FLIPS_FILE
    return read_flips(path) if path.is_file() else None
