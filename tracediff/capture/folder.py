"""The folder that a capture or a recording writes into."""

import os
from pathlib import Path

from tracediff.errors import TracediffError


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
