"""Which traces a user means by some paths."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.trace.nsys_parquet import is_parquet_export

_ENDINGS = (".sqlite", ".json", ".json.gz")
#: JSON beside our own traces that is no trace.
_OTHERS = frozenset({"manifest.json"})


def traces_in(paths: Iterable[Path]) -> list[Path]:
    """Return files as they are, and of folders the traces directly in them; a Parquet export is one trace.

    Raises:
        TracediffError: A folder holds no trace.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or is_parquet_export(path):
            found.append(path)
            continue
        inside = sorted(
            each
            for each in path.iterdir()
            if (each.name.endswith(_ENDINGS) and each.name not in _OTHERS) or is_parquet_export(each)
        )
        if not inside:
            raise TracediffError(f"{path} holds no trace", f"a trace ends in {', '.join(_ENDINGS)}")
        found += inside
    return found
