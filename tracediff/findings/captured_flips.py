"""The flips that a capture left beside its traces."""

from pathlib import Path

from tracediff.diff.result import TraceDiff
from tracediff.findings.flips import FlipsResult
from tracediff.findings.flips_file import read_flips
from tracediff.findings.same_subject import Subject, of_dtype, subject_of_flips
from tracediff.measured import CAPTURED_FLIPS_FILE


def flips_of(diff: TraceDiff) -> FlipsResult | None:
    """Return the flips of the captured run that both traces are of; None where none flipped.

    Like the evidence, they are used only beside the traces of their own run.

    Raises:
        TracediffError: The file is damaged.
    """
    found = flips_beside(Path(diff.a.info.path), Path(diff.b.info.path)) if diff.evidence is not None else None
    if found is None:
        return None
    info = diff.a.info
    subject = Subject(model=info.model, layers=info.layers, attention=info.attention, gpu=info.gpu)
    if subject.unlike(subject_of_flips(found)) is not None:
        return None
    return found if info.dtype is None else of_dtype(found, info.dtype)


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
