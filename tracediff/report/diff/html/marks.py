"""Where two kernel names differ, word by word."""

import re
from difflib import SequenceMatcher
from itertools import takewhile

from tracediff.report.diff.html.view import NamePart

_WORDS = re.compile(r"[^\W_]+|[\W_]")

# SequenceMatcher is quadratic in its worst case; beyond this the whole middle is marked.
_MOST_WORDS = 600


def marked_names(a: str, b: str) -> tuple[tuple[NamePart, ...], tuple[NamePart, ...]]:
    """Return both names in parts, the parts that the other name does not have in that place marked."""
    words_a, words_b = _WORDS.findall(a), _WORDS.findall(b)
    head = _common(words_a, words_b)
    tail = _common(words_a[head:][::-1], words_b[head:][::-1])
    middle_a, middle_b = words_a[head : len(words_a) - tail], words_b[head : len(words_b) - tail]
    parts_a = [("".join(words_a[:head]), False)]
    parts_b = [("".join(words_b[:head]), False)]
    if max(len(middle_a), len(middle_b)) > _MOST_WORDS:
        parts_a.append(("".join(middle_a), True))
        parts_b.append(("".join(middle_b), True))
    else:
        for what, a_from, a_to, b_from, b_to in SequenceMatcher(None, middle_a, middle_b, False).get_opcodes():
            parts_a.append(("".join(middle_a[a_from:a_to]), what != "equal"))
            parts_b.append(("".join(middle_b[b_from:b_to]), what != "equal"))
    parts_a.append(("".join(words_a[len(words_a) - tail :]), False))
    parts_b.append(("".join(words_b[len(words_b) - tail :]), False))
    return _joined(parts_a), _joined(parts_b)


def unmarked(name: str) -> tuple[NamePart, ...]:
    """Return a name that is compared with nothing."""
    return (NamePart(text=name, marked=False),) if name else ()


def _common(left: list[str], right: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _joined(parts: list[tuple[str, bool]]) -> tuple[NamePart, ...]:
    joined: list[NamePart] = []
    for text, marked in parts:
        if not text:
            continue
        if joined and joined[-1].marked == marked:
            joined[-1] = NamePart(text=joined[-1].text + text, marked=marked)
        else:
            joined.append(NamePart(text=text, marked=marked))
    return tuple(joined)
