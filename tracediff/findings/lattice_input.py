"""Logits or logprobs as people paste them: JSON or CSV, one group of values per decoding step.

Read are plain lists and token → number mappings, lists of objects with `logit` or `logprob`, what the OpenAI API
returns (`content[].top_logprobs[]`, and the older `top_logprobs: [{token: number}]`), what vLLM returns
(`{token id: {"logprob", "decoded_token"}}`), any of these nested in more JSON, and CSV with or without a header.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tracediff.errors import TracediffError
from tracediff.findings.lattice import Reading

# Lists over steps, not over the tokens of one step: their differences mean nothing.
_NOT_ONE_STEP = {"token_logprobs", "text_offset", "bytes", "prompt_token_ids", "token_ids", "ids"}
_VALUE_KEYS = {"logit": "logits", "logits": "logits", "logprob": "logprobs", "logprobs": "logprobs"}
_LABEL_KEYS = ("decoded_token", "token", "text", "token_id", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The values of one decoding step.

    Attributes:
        readings: The values as printed.
        kind: `logits` or `logprobs` where the input says so, else None.
    """

    readings: tuple[Reading, ...]
    kind: str | None


class _Printed(str):
    """A JSON number kept as its digits, so that its print precision is not lost."""

    __slots__ = ()


def read_groups(text: str) -> tuple[Group, ...]:
    """Return the groups found in JSON or CSV text, in order.

    Raises:
        TracediffError: Neither JSON nor CSV, or no group of two values in it.
    """
    stripped = text.strip()
    if not stripped:
        raise TracediffError("the input is empty", "give JSON or CSV with logits or logprobs")
    groups = tuple(_json_groups(stripped) if stripped[0] in "[{" else _csv_groups(stripped))
    if not groups:
        raise TracediffError(
            "no logits or logprobs found", 'give a list of numbers, {"token": number, …}, or CSV with a logit column'
        )
    return groups


def _json_groups(text: str) -> Iterator[Group]:
    try:
        data = json.loads(text, parse_float=_Printed, parse_int=_Printed, parse_constant=_Printed)
    except json.JSONDecodeError as error:
        raise TracediffError(f"not JSON: {error.msg} at line {error.lineno}") from None
    except RecursionError:
        raise TracediffError("the JSON is nested too deeply") from None
    yield from _walk(data, None)


def _walk(node: Any, kind: str | None) -> Iterator[Group]:
    """Yield the groups in a JSON value; `kind` is what the keys above it say."""
    readings = _one_step(node)
    if readings is not None:
        said = _kind_of(node) or kind
        yield Group(readings=readings, kind=said)
        return
    if isinstance(node, dict):
        for key, child in node.items():
            if key in _NOT_ONE_STEP:
                continue
            stem = key.lower().removeprefix("top_").removeprefix("prompt_")
            yield from _walk(child, _VALUE_KEYS.get(stem, kind))
    elif isinstance(node, list):
        for child in node:
            yield from _walk(child, kind)


def _one_step(node: Any) -> tuple[Reading, ...] | None:
    """Return the values where `node` is one step, else None."""
    pairs: list[tuple[str, Any]] = []
    if isinstance(node, list):
        if any(isinstance(item, dict) and item.get("top_logprobs") for item in node):
            return None
        pairs = [(_label_of(item, str(place)), item) for place, item in enumerate(node)]
    elif isinstance(node, dict):
        pairs = [(_label_of(item, key), item) for key, item in node.items()]
    values = [_value_of(item) for _, item in pairs]
    if len(values) < 2 or any(value is None for value in values):
        return None
    return tuple(Reading(label=label, text=str(value)) for (label, _), value in zip(pairs, values, strict=True))


def _value_of(item: Any) -> _Printed | None:
    if isinstance(item, dict):
        item = next((item[key] for key in _VALUE_KEYS if key in item), None)
    return item if isinstance(item, _Printed) else None


def _label_of(item: Any, otherwise: str) -> str:
    if isinstance(item, dict):
        return str(next((item[key] for key in _LABEL_KEYS if item.get(key) is not None), otherwise))
    return otherwise


def _kind_of(node: Any) -> str | None:
    items = node.values() if isinstance(node, dict) else node
    keys = {key for item in items if isinstance(item, dict) for key in item if key in _VALUE_KEYS}
    return _VALUE_KEYS[next(iter(keys))] if len(keys) == 1 else None


def _csv_groups(text: str) -> Iterator[Group]:
    try:
        cells = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text))]
    except csv.Error as error:
        raise TracediffError("neither JSON nor CSV", str(error)) from error
    rows = [row for row in cells if any(row)]
    if not rows:
        return
    header = [cell.lower() for cell in rows[0]]
    column = next((place for place, cell in enumerate(header) if cell in _VALUE_KEYS or cell == "value"), None)
    if column is not None:
        yield from _csv_with_header(header, rows[1:], column)
        return
    if not all(_is_number(row[-1]) for row in rows):
        raise TracediffError("neither JSON nor CSV with numbers", "CSV needs a column named logit, logprob or value")
    if len(rows[0]) > 2:  # a matrix: one step per row
        for row in rows:
            yield _group([(str(place), cell) for place, cell in enumerate(row)], None)
        return
    yield _group([(row[0] if len(row) == 2 else str(place), row[-1]) for place, row in enumerate(rows)], None)


def _csv_with_header(header: Sequence[str], rows: Sequence[Sequence[str]], column: int) -> Iterator[Group]:
    label = next((header.index(key) for key in _LABEL_KEYS if key in header), None)
    step = next((header.index(key) for key in ("step", "position") if key in header), None)
    steps: dict[str, list[tuple[str, str]]] = {}
    for place, row in enumerate(rows):
        if len(row) != len(header):
            raise TracediffError(f"CSV row {place + 2} has {len(row)} cells, the header {len(header)}")
        name = str(place) if label is None else row[label]
        steps.setdefault("" if step is None else row[step], []).append((name, row[column]))
    for pairs in steps.values():
        yield _group(pairs, _VALUE_KEYS.get(header[column]))


def _group(pairs: Sequence[tuple[str, str]], kind: str | None) -> Group:
    for _, text in pairs:
        if not _is_number(text):
            raise TracediffError(f"{text[:40]!r} is no number")
    return Group(readings=tuple(Reading(label=label, text=text) for label, text in pairs), kind=kind)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not math.isnan(float(text))
