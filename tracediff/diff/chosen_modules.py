"""Which modules of a comparison the user asks for: by a regular expression, or by a name as the reports print it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

from msgspec import Struct

from tracediff.diff.many import ManyRow
from tracediff.diff.places import NO_MODULE, kind_names, short_names
from tracediff.diff.result import Row
from tracediff.errors import TracediffError
from tracediff.text import count, printable, shorten

_SHOWN = 6
_LONGEST = 60
_AnyRow = TypeVar("_AnyRow", Row, ManyRow)


class ChosenModules(Struct, frozen=True, kw_only=True):
    """The modules that the user asks for.

    Attributes:
        pattern: What the user wrote.
        paths: Their paths.
    """

    pattern: str
    paths: frozenset[str]

    def rows(self, rows: Iterable[_AnyRow]) -> list[_AnyRow]:
        """Return the rows of these modules."""
        return [row for row in rows if row.module in self.paths]

    def words(self, rows: Sequence[Row] | Sequence[ManyRow]) -> str:
        """Return `64 of 1,264 modules, those of --module q_proj`."""
        chosen = sum(row.module in self.paths for row in rows)
        return f"{chosen:,} of {count(len(rows), 'module')}, those of --module {self.pattern}"


def choose_modules(rows: Sequence[Row], pattern: str) -> ChosenModules:
    """Choose modules.

    Args:
        rows: Rows of one or more comparisons.
        pattern: A regex that is found in a module's path, or a name as it is printed: `q_proj`, `(block)`.

    Raises:
        TracediffError: No module has such a path or name, or the text is no regex and no name.
    """
    names = _names(rows)
    paths = {path for path, called in names.items() if pattern in called}
    try:
        regex = re.compile(pattern)
    except re.error as error:
        if not paths:
            raise TracediffError(f"--module {pattern!r} is no regular expression", str(error)) from error
    else:
        paths |= {path for path in names if regex.search(path)}
    if not paths:
        raise TracediffError(f"no module matches {pattern!r}", f"there is {_near(pattern, names)}")
    return ChosenModules(pattern=pattern, paths=frozenset(paths))


def _near(pattern: str, names: Mapping[str, Sequence[str]]) -> str:
    """Name the modules that are called alike, or the first ones."""
    known = list(dict.fromkeys(name for called in names.values() for name in called))
    first = list(dict.fromkeys(called[0] for called in names.values()))
    near = get_close_matches(pattern, known, n=_SHOWN) or first[:_SHOWN]
    return ", ".join(shorten(name, _LONGEST) for name in near) or "none"


def _names(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Return what each module is called in the reports, the shortest name first."""
    short, of_kind = short_names(rows), kind_names(rows)
    return {
        row.module: tuple(
            dict.fromkeys(
                printable(name) or NO_MODULE for name in (short[row.kind], of_kind[row.kind], row.kind, row.module)
            )
        )
        for row in rows
    }
