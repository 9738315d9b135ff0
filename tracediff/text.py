"""Text from a trace, made safe to print: a kernel or range name may hold anything."""

import unicodedata
from collections.abc import Sequence

# Cc: ESC, NUL, newlines; Cf: bidirectional overrides, zero-width; Cs: lone surrogates; Zl, Zp: line separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""Return text with control, format and unassigned characters written as `\x1b` or `\u202e`.

    Terminals obey escape sequences, so a name is never printed as it stands.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNPRINTABLE
        else character
        for character in text
    )


def shorten(text: str, width: int) -> str:
    """Return text in at most `width` characters, the middle replaced by an ellipsis: both ends of a name tell."""
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def sizes_in_words(numbers: Sequence[int | None]) -> str:
    """Write sizes for people, as everywhere in the reports: `128×4×1`, an unknown one as `?`."""
    return "×".join("?" if number is None else str(number) for number in numbers)
