"""Read what Python, numpy and torch print: numbers keep their digits, so that their print precision is not lost.

The grammar is that of Python's literals, loosened where prints are: commas between items may be missing (numpy), keys
may be numbers, words without quotes are text, `...` means items left out, and a call such as `Logprob(rank=1)` or
`tensor([1.0], dtype=torch.bfloat16)` is an object. Nothing is evaluated. JSON is a part of this grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?\b|nan\b))(?![\w.])
      | (?P<text>[bruBRU]{0,2}(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
      | (?P<left_out>\.\.\.)
      | (?P<word>[^\W\d][\w.]*)
      | (?P<sign>[\[\](){},:=|<>])
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_CONSTANTS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
_DEEPEST = 200


class Printed(str):
    """A number as it was printed."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Call:
    """An object printed as a call.

    Attributes:
        name: Of the class or function, its module included where printed.
        positional: Arguments without a name.
        named: Arguments by name.
    """

    name: str
    positional: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)


class NotPrintedError(ValueError):
    """The text is not in this grammar."""


def read_printed(text: str) -> list[Any]:
    """Return the objects in the text, one after the other; `name = object` counts as the object.

    Returns:
        Numbers as `Printed`, text as str, lists and tuples as list, mappings as dict, calls as `Call`.

    Raises:
        NotPrintedError: Something in it is none of these.
    """
    reader = _Objects(_tokens(text))
    found = []
    while not reader.at_end:
        item = reader.value(0)
        if reader.accept("=") or reader.accept(":"):
            continue  # the name of what follows
        found.append(item)
        reader.accept(",")
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place = [], 0
    end = len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise NotPrintedError(f"unexpected {text[place : place + 20].strip()!r}")
        tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
        place = match.end()
    return tokens


class _Objects:
    """A recursive reader of the tokens."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def at_end(self) -> bool:
        return self._place >= len(self._tokens)

    def accept(self, sign: str) -> bool:
        if not self.at_end and self._tokens[self._place] == ("sign", sign):
            self._place += 1
            return True
        return False

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise NotPrintedError("nested too deeply")
        if self.at_end:
            raise NotPrintedError("it ends too early")
        kind, text = self._tokens[self._place]
        self._place += 1
        if kind in _PLAIN:
            return _PLAIN[kind](text)
        if kind == "word":
            return self._call(text, depth) if self.accept("(") else _CONSTANTS.get(text, text)
        return self._bracketed(text, depth)

    def _bracketed(self, sign: str, depth: int) -> Any:
        if sign in "[(":
            return self._items("]" if sign == "[" else ")", depth)
        if sign == "{":
            return self._mapping(depth)
        if sign == "<":
            return self._inside_angles()
        raise NotPrintedError(f"unexpected {sign!r}")

    def _items(self, end: str, depth: int) -> list[Any]:
        items = []
        while not self.accept(end):
            item = self.value(depth + 1)
            if item is not ...:
                items.append(item)
            self.accept(",")
        return items

    def _mapping(self, depth: int) -> Any:
        pairs, items = {}, []
        while not self.accept("}"):
            key = self.value(depth + 1)
            if self.accept(":"):
                pairs[str(key)] = self.value(depth + 1)
            elif key is not ...:
                items.append(key)  # a set
            self.accept(",")
        return pairs or items

    def _call(self, name: str, depth: int) -> Call:
        call = Call(name)
        while not self.accept(")"):
            argument = self.value(depth + 1)
            if self.accept("="):
                call.named[str(argument)] = self.value(depth + 1)
            elif argument is not ...:
                call.positional.append(argument)
            self.accept(",")
        return call

    def _inside_angles(self) -> str:
        """Skip `<SumBackward0>` and the like."""
        while not self.accept(">"):
            if self.at_end:
                raise NotPrintedError("it ends too early")
            self._place += 1
        return ""


def _unquoted(text: str) -> str:
    start = min(place for place in (text.find("'"), text.find('"')) if place >= 0)
    return re.sub(
        r"\\(.)", lambda escape: {"n": "\n", "t": "\t", "r": "\r"}.get(escape[1], escape[1]), text[start + 1 : -1]
    )


_PLAIN: dict[str, Callable[[str], Any]] = {"number": Printed, "text": _unquoted, "left_out": lambda text: ...}
