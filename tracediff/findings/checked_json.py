"""Read JSON results from disk: valid JSON of the right kind and schema, every field of the type its class states."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tracediff.errors import TracediffError
from tracediff.json_input import LONGEST_MESSAGE, parse_json

T = TypeVar("T")


def read_json(path: Path, kind: str, schemas: tuple[int, ...], hint: str) -> dict[str, Any]:
    """Return the JSON object in a file that states `kind` and one of `schemas`.

    Args:
        path: The file.
        kind: What its field `kind` must say.
        schemas: What its field `schema` may say.
        hint: What to give instead.

    Raises:
        TracediffError: No such file, no JSON, another kind or another schema.
    """
    try:
        document = parse_json(path.read_bytes())
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
    except ValueError as error:
        raise TracediffError(f"cannot read {path}: {error}", hint) from error
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise TracediffError(f"{path} holds no result of `tracediff {kind}`", hint)
    schema = document.get("schema")
    if schema not in schemas or isinstance(schema, bool):
        readable = " and ".join(map(str, schemas))
        raise TracediffError(
            f"{path} has schema {str(schema)[:20]}, this tracediff reads {readable}", "update tracediff"
        )
    return document


def decode_object(document: Any, type_: type[T], path: Path) -> T:
    """Return a JSON value as an object of `type_`; fields that the type lacks are ignored.

    Raises:
        TracediffError: A field is missing, or has another type or range; the message says which.
    """
    try:
        return decoded(document, type_)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise TracediffError(f"{path} is damaged", str(error)[:LONGEST_MESSAGE]) from error


def decoded(document: Any, type_: type[T]) -> T:
    """Return a JSON value as an object of `type_`.

    Raises:
        msgspec.ValidationError: It is something else.
    """
    return msgspec.convert(document, type_, str_keys=True)
