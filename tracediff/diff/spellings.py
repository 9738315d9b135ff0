"""One kernel, spelled by two profilers: nsys writes `(int)8` and `<unnamed>`, torch `8` and `(anonymous namespace)`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from msgspec.structs import replace

from tracediff.kernels import KernelName
from tracediff.kernels.spelling import arguments, spelled
from tracediff.trace import KernelTable

Meaning = tuple[KernelName, str, frozenset[str]]

# A number's suffix (`3ul`) is cut off; of `T1`, the generic signature's parameter, nothing remains.
_WORD = re.compile(r"\d+|(?!T\d+\b)[A-Za-z_]\w*")
# What only one of the spellings writes: casts of literals, suffixes, qualifiers, names for what has none.
_SPELLING_ONLY = frozenset(
    {"int", "unsigned", "long", "bool", "void", "const", "u", "ul", "l", "true", "false", "0", "1"}
    | {"unnamed", "anonymous", "namespace", "instance"}
)


def same_kernels(a: KernelTable, b: KernelTable) -> dict[str, str]:
    """Return for names of b the name of the same kernel in a, where the two come from different profilers.

    Two names are of the same kernel where the grammars read the same from both, the function is the same and the same
    words are in its template arguments, and no other name of either trace says the same: what could be two kernels is
    left alone.
    """
    if a.info.profiler == b.info.profiler:
        return {}
    by_a, by_b = _by_meaning(a.parsed), _by_meaning(b.parsed)
    return {
        of_b[0]: by_a[meaning][0]
        for meaning, of_b in by_b.items()
        if len(of_b) == 1 and len(by_a.get(meaning, ())) == 1 and of_b != by_a[meaning]
    }


def _by_meaning(names: Iterable[KernelName]) -> dict[Meaning, list[str]]:
    result: defaultdict[Meaning, list[str]] = defaultdict(list)
    for each in names:
        # What no grammar read is text in one profiler's spelling; function and words identify it.
        result[replace(each, name="", unparsed=None), *_function_and_words(each.name)].append(each.name)
    return result


def _function_and_words(name: str) -> tuple[str, frozenset[str]]:
    """Return a kernel's function, without namespaces, and the words of its template arguments."""
    spelling = spelled(name)
    if spelling.open < 0 or spelling.procedural != spelling.path:
        return spelling.procedural, frozenset()
    inside = " ".join(arguments(spelling.text, spelling.open)[0])
    return spelling.path.rpartition("::")[2], frozenset(_WORD.findall(inside)) - _SPELLING_ONLY
