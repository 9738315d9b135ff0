"""Ids of places in a model, for links, and what phases are called."""

from __future__ import annotations

import hashlib
import re

from tracediff.text import printable

OUTSIDE = "outside every range"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.]+")
_LONGEST = 96


def phase_name(phase: str | None) -> str:
    """Return a phase's name for people."""
    return OUTSIDE if phase is None else printable(phase) or "(unnamed phase)"


def anchor(prefix: str, *words: str) -> str:
    """Return an id for `words`, readable and the same in every report; letters, digits, `_`, `.`, `:` and `-` only.

    What had to be changed or cut is told apart by a hash, so that two places never share an id.
    """
    plain = [_UNSAFE.sub("-", word).strip("-") for word in words]
    text = ":".join([prefix, *plain])
    # decode[3] → decode-3 is common, and reads back without doubt.
    faithful = all(re.fullmatch(r"[A-Za-z0-9_.]*(\[\d+\])?", word) for word in words) and len(text) <= _LONGEST
    if faithful:
        return text
    digest = hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
    return f"{text[:_LONGEST]}-{digest}"
