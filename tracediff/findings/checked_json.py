"""Read JSON results from disk: valid JSON of the right kind and schema, every field of the type its class states."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tracediff.errors import TracediffError
from tracediff.json_input import LONGEST_MESSAGE, parse_json
from tracediff.trace.file_head import is_sqlite

T = TypeVar("T")

#: The commands that write results as JSON; each result names its command in the field `kind`.
RESULT_KINDS = frozenset({"flips", "determinism", "map", "remedies"})


def what_tracediff_wrote(document: object) -> str | None:
    """Say which of tracediff's own files a JSON value is from; None where it is none of them."""
    if not isinstance(document, dict) or "schema" not in document:
        return None
    kind = document.get("kind")
    if isinstance(kind, str) and kind in RESULT_KINDS:
        return f"a result of `tracediff {kind}`"
    if {"pairs", "controls"} <= document.keys():
        return "the evidence of a capture"
    return "the JSON of `tracediff diff` or `show`" if {"kernels", "rows"} <= document.keys() else None


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
        content = path.read_bytes()
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
    if not content.strip():
        raise TracediffError(f"{path} is empty", hint)
    if is_sqlite(content):
        raise TracediffError(f"{path} is an SQLite file, not a result of `tracediff {kind}`", hint)
    try:
        document = parse_json(content)
    except ValueError as error:
        raise TracediffError(f"cannot read {path}: {error}", hint) from error
    if not isinstance(document, dict) or document.get("kind") != kind:
        found = what_tracediff_wrote(document)
        what = f"is {found}, not a" if found else "holds no"
        raise TracediffError(f"{path} {what} result of `tracediff {kind}`", hint)
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
