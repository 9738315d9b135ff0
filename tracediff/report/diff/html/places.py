"""Ids of places in a model, for links."""

from __future__ import annotations

import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_.]+")
_LONGEST = 96


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
