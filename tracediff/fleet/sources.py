"""Find the traces in the files and folders that a user names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.trace.file_head import read_head
from tracediff.trace.nsys_parquet import is_parquet_export

_MANIFEST = "manifest.json"  # of a capture, or of another program that uses the name
_ENDINGS = (".sqlite", ".json", ".json.gz")
#: How tracediff's own results begin: manifest, evidence, flips, diffs. PyTorch's traces begin with "schemaVersion".
_OWN_RESULT = re.compile(rb'\s*\{\s*"schema"\s*:')


def traces_in(paths: Iterable[Path]) -> list[Path]:
    """Return files as they are, and of folders the traces directly in them; a Parquet export is one trace.

    A folder that `tracediff capture` wrote may hold evidence and other results: these are left out.

    Raises:
        TracediffError: A folder holds no trace.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or is_parquet_export(path):
            found.append(path)
            continue
        inside = sorted(each for each in path.iterdir() if _may_be_trace(each))
        if not inside:
            raise TracediffError(f"{path} holds no trace", f"a trace ends in {', '.join(_ENDINGS)}")
        found += inside
    return found


def _may_be_trace(path: Path) -> bool:
    if is_parquet_export(path):
        return True
    if not path.name.endswith(_ENDINGS) or path.name == _MANIFEST:
        return False
    return path.suffix != ".json" or not _is_own_result(path)


def _is_own_result(path: Path) -> bool:
    try:
        return _OWN_RESULT.match(read_head(path)) is not None
    except TracediffError:
        return False  # reading it as a trace will say what is wrong
