"""Text from a trace, made safe for terminals, JSON, Markdown and CSV: a kernel or range name may hold anything."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# Cc: ESC, NUL, newlines; Cf: bidirectional overrides, zero-width; Cs: lone surrogates; Zl, Zp: line separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""Return text with control, format and unassigned characters written as `\x1b` or `\u202e`.

    Terminals obey escape sequences, so a name is never printed as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNPRINTABLE
        else character
        for character in text
    )


#: `json.dumps` escapes the controls below DEL itself.
_NOT_PLAIN = re.compile(r"[^\x00-\x7e]")


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: `1 kernel`, `4,386 kernels`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON that is safe to print: control and format characters as `\\u009b`, NaN and ±∞ as null."""
    separators = None if indent is not None else (",", ":")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return text if text.isascii() and "\x7f" not in text else _NOT_PLAIN.sub(_json_escape, text)


def _json_escape(found: re.Match[str]) -> str:
    character = found[0]
    if unicodedata.category(character) not in _UNPRINTABLE:
        return character
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def without_surrogates(text: str) -> str:
    """Return text with lone surrogates, which no encoding can write, as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shorten(text: str, width: int) -> str:
    """Return text in at most `width` characters, the middle replaced by an ellipsis: both ends of a name tell."""
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


#: What Markdown gives a meaning anywhere in a line.
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\|`*_[]~$"})
#: What a forge makes a link or a mention of: `http://`, `www.`, `@user`, `#12`, `GH-12`. It looks at the text it has
#: rendered, where a backslash is gone; a space without width stays.
_LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)|(?<=#)(?=\d)|(?<=\bGH)(?=-\d)", re.IGNORECASE)
_FORMULA = frozenset("=+-@")


def markdown_text(text: str) -> str:
    """Return Markdown that shows exactly this text: no table cell ends, no emphasis, HTML, link or mention begins."""
    import html  # noqa: PLC0415 -- brings a table of two thousand entities

    shown = html.escape(_LINKED.sub("\u200b", printable(text)), quote=False)
    return shown.translate(_MARKDOWN)


def csv_text(text: str) -> str:
    """Return text as a cell that no spreadsheet runs.

    A cell is a formula where it begins with `=`, `+`, `-` or `@`, after white space too, and in some languages where it
    begins with the wide forms of these (`＝`). Such a cell gets a `'`, which spreadsheets do not show.
    """
    shown = printable(text)
    first = unicodedata.normalize("NFKC", shown).lstrip()[:1]
    return f"'{shown}" if first in _FORMULA else shown


def csv_table(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Return CSV whose texts no spreadsheet runs; None is an empty cell."""
    import csv  # noqa: PLC0415 -- this module is imported by every command
    import io  # noqa: PLC0415

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([csv_text(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    return out.getvalue()


def sizes_in_words(numbers: Sequence[int | None]) -> str:
    """Write sizes for people, as everywhere in the reports: `128×4×1`, an unknown one as `?`."""
    return "×".join("?" if number is None else str(number) for number in numbers)
