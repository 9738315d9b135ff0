"""The folder that a capture or a recording writes into."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from tracediff.capture.manifest import listed_files
from tracediff.errors import TracediffError
from tracediff.measured import ACTIVATIONS_FILE, CAPTURED_FLIPS_FILE, EVIDENCE_FILE, LOGITS_FILE

#: What measuring may have left beside the traces; it goes with the traces that it was measured of.
_EVIDENCE_FILES = (EVIDENCE_FILE, LOGITS_FILE, ACTIVATIONS_FILE, CAPTURED_FLIPS_FILE)


def claim_folder(folder: Path, force: bool) -> bool:
    """Make sure that the folder can be written to before anything takes time; return whether it is new.

    Raises:
        TracediffError: It is a file, holds files, or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise TracediffError(f"{folder} is a file", "name a folder with --out")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise TracediffError(f"{folder} holds files", "name another folder with --out, or add --force to replace them")
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TracediffError(f"cannot make {folder}", error.strerror) from error
    if not os.access(folder, os.W_OK):
        raise TracediffError(f"cannot write to {folder}", "name another folder with --out")
    return is_new


def remove_earlier(folder: Path) -> None:
    """Remove the traces that an earlier capture or recording wrote into a folder, and what was measured of them."""
    for path in (folder / name for name in (*listed_files(folder), *_EVIDENCE_FILES)):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def keep_privately(source: Path, destination: Path) -> Path:
    """Copy a profiler's own recording, which holds the environment of a process, for nobody but the user to read."""
    destination.unlink(missing_ok=True)
    destination.touch(mode=0o600)
    shutil.copyfile(source, destination)
    return destination


def where_kept(paths: Iterable[Path]) -> str:
    """Tell the user where recordings were kept that tracediff could not finish."""
    first, *others = paths
    names = ", ".join([str(first), *(path.name for path in others)])
    return f"the recording is kept as {names} (it holds the environment, do not share it)"
