"""Write files: never overwrite unasked, never leave half a file, never replace anything but a regular file."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tracediff.errors import TracediffError
from tracediff.json_input import parse_json
from tracediff.streams import standard_output

#: A file in the making. Its writer holds a lock on it, so that one left behind by a killed writer can be recognised.
_PREFIX, _SUFFIX = ".tracediff-", ".tmp"
_STDOUT, _STDERR = 1, 2
_STREAMS = {"-": _STDOUT, "/dev/stdout": _STDOUT, "/dev/stderr": _STDERR}
_DESCRIPTOR_FOLDERS = {"/dev/fd", "/proc/self/fd"}
#: What belongs to a capture beside the files that its manifest lists.
_CAPTURE_FILES = frozenset({"manifest.json", "evidence.json", "logits.safetensors", "activations.safetensors"})
_MANIFEST_LIMIT_BYTES = 16 << 20


def refuse_to_overwrite(path: Path, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise TracediffError where `path` may not be written.

    Standard output (`-`), FIFOs and character devices may always be written: nothing is replaced there.

    Args:
        path: Where the output goes.
        force: Whether it may replace a file; never one of the inputs, nor a file that belongs to a capture.
        inputs: What the output is made from.
    """
    if _descriptor(path) is not None:
        return
    try:
        if path.is_dir():
            raise TracediffError(f"{path} is a directory", "name a file")
        if path.exists():
            if any(each.exists() and path.samefile(each) for each in inputs):
                raise TracediffError(f"{path} is an input", "name another file: an input is never changed")
            if _is_stream(path):
                return
            if not path.is_file():
                raise TracediffError(f"{path} is not a regular file", "name a file")
            if _belongs_to_capture(path):
                raise TracediffError(f"{path} belongs to a capture", "name another file: a capture is never changed")
            if not force:
                raise TracediffError(f"{path} exists", "add --force to replace it")
        elif not (folder := resolved(path).parent).is_dir():
            raise TracediffError(f"{folder} is not a directory", "create it first")
    except OSError as error:
        raise TracediffError(f"cannot write {path}", error.strerror or str(error)) from error


@contextmanager
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose content goes to `path` when the block succeeds; it is removed in any case.

    A regular file is replaced in one step (through a symbolic link: the file it points to) and keeps its mode; a new
    one gets what the umask allows. Standard output, FIFOs and character devices receive the content.

    Raises:
        TracediffError: It cannot be written.
    """
    try:
        if is_stream(path):
            with tempfile.TemporaryDirectory(prefix="tracediff-") as folder:
                temporary = Path(folder) / "output"
                yield temporary
                with temporary.open("rb") as source, _open_stream(path) as target:
                    shutil.copyfileobj(source, target)
            return
        path = resolved(path)
        with _temporary_beside(path) as temporary:
            yield temporary
            if path.exists():
                if not path.is_file():
                    raise TracediffError(f"{path} is not a regular file", "name a file")
                shutil.copymode(path, temporary)
            temporary.replace(path)
    except BrokenPipeError:
        raise  # the reader of our output went away: nothing is wrong
    except OSError as error:
        raise TracediffError(f"cannot write {path}", error.strerror or str(error)) from error


def resolved(path: Path) -> Path:
    """Return the path behind symbolic links.

    Raises:
        OSError: The links lead in a circle; Python before 3.13 has another error for it, and later ones have none.
    """
    try:
        found = path.resolve()
    except RuntimeError:
        found = path
    if found.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return found


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    import hashlib  # noqa: PLC0415 -- few commands need it

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_file(source: Path, destination: Path) -> None:
    """Copy a file over `destination` in one step.

    Raises:
        TracediffError: It cannot be written.
    """
    with replaced_when_complete(destination) as temporary:
        shutil.copyfile(source, temporary)


def write_text(path: Path, text: str, force: bool = False) -> None:
    """Write `text` to `path` as UTF-8, in one step; lone surrogates become `?`."""
    refuse_to_overwrite(path, force)
    with replaced_when_complete(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))


def is_stream(path: Path) -> bool:
    """Whether `path` is standard output, a FIFO or a character device: no file can be made beside it."""
    return _descriptor(path) is not None or _is_stream(path)


def is_stdout(path: Path) -> bool:
    """Whether what is written to `path` goes to standard output."""
    return _descriptor(path) == _STDOUT


def _descriptor(path: Path) -> int | None:
    """Return the open file descriptor that `path` names, None for any other path."""
    if str(path) in _STREAMS:
        return _STREAMS[str(path)]
    return int(path.name) if str(path.parent) in _DESCRIPTOR_FOLDERS and path.name.isdecimal() else None


def _is_stream(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextmanager
def _open_stream(path: Path) -> Iterator[BinaryIO]:
    descriptor = _descriptor(path)
    if descriptor == _STDOUT:
        stdout = standard_output()
        stdout.flush()
        yield stdout.buffer
        stdout.buffer.flush()
        return
    # Without O_CREAT and O_TRUNC: were it a regular file by now, it would not be changed before this fails.
    opened = os.dup(descriptor) if descriptor is not None else os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    with os.fdopen(opened, "wb") as target:
        if descriptor is None and stat.S_ISREG(os.fstat(opened).st_mode):
            raise TracediffError(f"{path} was replaced while it was written", "try again")
        yield target


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """Yield a new, locked file in the folder of `path`; remove it, and what SQLite puts beside it, unless it moved."""
    _remove_abandoned(path.parent)
    temporary, lock = _new_locked_file(path.parent)
    try:
        yield temporary
    finally:
        _remove(temporary)
        os.close(lock)


def _new_locked_file(folder: Path) -> tuple[Path, int]:
    while True:
        temporary = folder / f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"
        lock = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):
            if temporary.stat().st_ino == os.fstat(lock).st_ino:
                return temporary, lock
        os.close(lock)  # another process took it for abandoned before it was locked


def _remove_abandoned(folder: Path) -> None:
    """Remove what writers that were killed left in a folder: their locks went with them."""
    for left in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            opened = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if stat.S_ISREG(os.fstat(opened).st_mode):
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(left)
            finally:
                os.close(opened)
    for left in folder.glob(f"{_PREFIX}*{_SUFFIX}-*"):
        if not left.with_name(left.name.rpartition("-")[0]).exists():
            with contextlib.suppress(OSError):
                left.unlink()


def _remove(temporary: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def _belongs_to_capture(path: Path) -> bool:
    """Whether a file is part of a capture: its manifest, or what is listed there."""
    path = path.resolve()
    manifest = path.with_name("manifest.json")
    try:
        if not manifest.is_file() or manifest.stat().st_size > _MANIFEST_LIMIT_BYTES:
            return False
        traces = parse_json(manifest.read_bytes())["traces"]
        listed = {value for entry in traces for value in entry.values() if isinstance(value, str)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False
    return path.name in _CAPTURE_FILES or path.name in listed
