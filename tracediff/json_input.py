"""Parse JSON that anyone may have written: whatever is wrong with it is a ValueError of one line."""

from __future__ import annotations

from typing import Any

import msgspec

#: A message may quote what a file holds.
LONGEST_MESSAGE = 300


def parse_json(content: bytes | str, type_: Any = Any) -> Any:
    """Return the value of a JSON document.

    Args:
        content: The document.
        type_: What it must be, as msgspec takes it; fields that the type lacks are ignored.

    Raises:
        ValueError: It is no JSON (which knows no NaN), not UTF-8, nested too deeply, or something else than `type_`.
    """
    try:
        return msgspec.json.decode(content, type=type_)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)[:LONGEST_MESSAGE]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
