"""The state of a file before and after it is read: what is read of a file that changes may be two traces mixed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracediff.errors import TracediffError

#: A file system's clock ticks every 1 to 10 ms; a second write within one tick leaves the time of the first.
_TICK_NS = 20_000_000


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raise TracediffError where a file, or a file in a folder, is replaced or written while the block runs.

    If the file was written a moment ago, this waits first, so that another write would change its time stamp.
    """
    before = _settled(path)
    try:
        yield
    except TracediffError as error:
        if _state(path) != before:
            raise _changed(path) from error
        raise
    if _state(path) != before:
        raise _changed(path)


def _changed(path: Path) -> TracediffError:
    return TracediffError(f"{path} changed while it was read", "read it again once it is complete")


def _settled(path: Path) -> list[tuple[int, ...]]:
    state = _state(path)
    newest = max((modified for *_, modified, _ in state), default=0)
    if 0 <= time.time_ns() - newest < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
        return _state(path)
    return state


def _state(path: Path) -> list[tuple[int, ...]]:
    """Return device, inode, size, times of modification and of change; of each file in a folder."""
    try:
        files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
        states = [each.stat() for each in files]
    except OSError:
        return []
    return [(each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in states]
