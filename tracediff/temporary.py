"""Temporary folders that vanish with what was started in them, and those that killed runs left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracediff.processes import kill_users_of

_PREFIX = "tracediff-"
_LOCK = ".in-use"
# A folder without a lock file is one that is being made right now, or an older version's.
_SECONDS_WITHOUT_LOCK = 24 * 3600


@contextmanager
def temporary_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a folder that only this user can read; at the end it goes, and with it every process whose TMPDIR it is.

    Folders of earlier runs that were killed are removed first, with the processes that those left.

    Args:
        purpose: One word for its name: `tracediff-<purpose>-…`.
        parent: Where it is made; None: in the folder for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_leftovers(parent)
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{purpose}-", dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # The lock is the kernel's: it ends with this process, however that ends, and no child inherits it.
        with (folder / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield folder
            finally:
                kill_users_of(folder)


def remove_leftovers(parent: Path) -> None:
    """Remove folders of `temporary_folder` that no process holds any more. Those of other users stay."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        with contextlib.suppress(OSError):
            state = folder.lstat()
            if folder.is_symlink() or not folder.is_dir() or state.st_uid != os.getuid():
                continue
            if _is_abandoned(folder, state.st_mtime):
                kill_users_of(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path, modified: float) -> bool:
    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return time.time() - modified > _SECONDS_WITHOUT_LOCK
    except BlockingIOError:
        return False
    return True
