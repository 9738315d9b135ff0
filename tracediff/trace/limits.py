"""Limits on what a compressed or crafted file may expand to; the user can raise each of them."""

import os

from tracediff.errors import TracediffError

#: Environment variable → megabytes unless it is set.
_DEFAULTS = {
    "TRACEDIFF_MAX_UNPACKED_MB": 1024,
    "TRACEDIFF_MAX_EVENT_MB": 16,
    "TRACEDIFF_MAX_TEXTS_MB": 512,
}
MAX_UNPACKED, MAX_EVENT, MAX_TEXTS = _DEFAULTS


def limit_bytes(variable: str) -> int:
    """Return a limit in bytes.

    Raises:
        TracediffError: The variable is set to something that is not a number of megabytes.
    """
    text = os.environ.get(variable, "")
    if not text:
        return _DEFAULTS[variable] << 20
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) == 0:
        raise TracediffError(f"{variable}={text!r} is not a number of megabytes", f"set it to {_DEFAULTS[variable]}")
    return int(text) << 20
