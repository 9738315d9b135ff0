"""Writing files: never over another one unasked, never half."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tracediff.errors import TracediffError


def refuse_to_overwrite(path: Path, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise TracediffError where `path` may not be written.

    Args:
        path: Where the output goes.
        force: Whether it may replace a file. Never one of the inputs.
        inputs: What the output is made from.
    """
    try:
        if path.is_dir():
            raise TracediffError(f"{path} is a directory", "name a file")
        if path.exists():
            if any(each.exists() and path.samefile(each) for each in inputs):
                raise TracediffError(f"{path} is an input", "name another file: an input is never changed")
            if not force:
                raise TracediffError(f"{path} exists", "add --force to replace it")
        if not path.absolute().parent.is_dir():
            raise TracediffError(f"{path.parent} is no directory", "make it first")
    except OSError as error:
        raise TracediffError(f"cannot write {path}", error.strerror or str(error)) from error


@contextmanager
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` when the block ends well, and is removed when not.

    Raises:
        TracediffError: It cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=".tracediff-", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise TracediffError(f"cannot write {path}", error.strerror or str(error)) from error


def write_text(path: Path, text: str, force: bool = False) -> None:
    """Write `text` to `path` as UTF-8, in one step."""
    refuse_to_overwrite(path, force)
    with replaced_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
