"""Finds decoding steps in trees of lists and mappings: what JSON, and prints of Python, numpy and torch, become.

Where a text names its values (`logprob`, `top_logprobs`, `probs`, …), only named values count, so that the token counts
of an answer's `usage` are never taken for logits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracediff.dtypes import dtype_named
from tracediff.errors import TracediffError
from tracediff.findings.lattice import Reading
from tracediff.findings.pasted_steps import KINDS, LABELS, PastedStep, is_number, kind_of_key
from tracediff.findings.printed_objects import Call, Printed

# Fields of an object that describes one token; a mapping with any other key maps tokens to numbers.
_TOKEN_FIELDS = {*LABELS, *KINDS, "bytes", "rank", "special", "value"}
# Lists over steps, not over the tokens of one step: their differences mean nothing.
_ONE_VALUE_PER_STEP = re.compile(
    r"token_logprobs$|chosencandidates$|^tokens$|^prefill$|(?:^|_)(?:ids|indices)$|text_offset$|^bytes$"
)
_ALTERNATIVES = ("top_logprobs", "top_probs", "top_logits")
_API_FIELDS = {"choices", "usage", "object", "model", "meta_info", "timings"}
_ARRAYS = {"tensor", "array", "parameter", "ndarray"}


@dataclass(frozen=True, slots=True)
class _Array:
    """A printed tensor or array and the dtype that it states."""

    items: Any
    dtype: str | None


def plain(node: Any) -> Any:
    """Return a printed object with its calls resolved: arrays, numbers such as `np.float32(1.5)`, and objects."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return _plain_call(node) if isinstance(node, Call) else node


def _plain_call(call: Call) -> Any:
    name = call.name.rpartition(".")[2].lower()
    positional = [plain(argument) for argument in call.positional]
    named = {key: plain(value) for key, value in call.named.items()}
    if name in _ARRAYS and positional:
        stated = str(call.named.get("dtype", ""))
        if isinstance(positional[0], Printed):
            return positional[0]
        try:
            return _Array(positional[0], dtype_named(stated) if stated else None)
        except TracediffError:  # integers are token ids, no logits
            return None
    if name == "logprob" and positional:
        return {"logprob": positional[0], **named}
    return named or (positional[0] if len(positional) == 1 else positional)


class Walk:
    """Finds the steps in trees.

    Attributes:
        single_values: Whether objects were met that hold one token's value without its alternatives.
    """

    def __init__(self) -> None:
        self.single_values = False

    def steps(self, trees: Sequence[Any]) -> list[PastedStep]:
        """Return the steps of several trees; where any of them is named (`logprobs`), only named ones."""
        trees = [tree for tree in trees if tree is not None]
        if len(trees) > 1 and all(isinstance(tree, Printed) for tree in trees):
            trees = [trees]
        found = [step for tree in trees for step in self._walk(tree, None, None)]
        named = [step for step in found if step.kind is not None]
        if named or any(isinstance(tree, dict) and _API_FIELDS & tree.keys() for tree in trees):
            return named
        return found

    def _walk(self, node: Any, kind: str | None, dtype: str | None) -> Iterator[PastedStep]:
        """Yield the steps in a tree; `kind` is what the keys above it say."""
        if isinstance(node, _Array):
            yield from self._walk(node.items, kind, node.dtype or dtype)
            return
        readings = _one_step(node, kind)
        if readings is not None:
            yield PastedStep(readings=readings, kind=_kind_of_items(node) or kind, dtype=dtype)
        elif isinstance(node, dict) and any(key in node for key in _ALTERNATIVES) and _value_of(node) is not None:
            yield from self._with_alternatives(node)
        elif isinstance(node, dict) and {"values", "indices"} <= node.keys():
            yield from self._top_k(node["values"], node["indices"], kind, dtype)
        elif isinstance(node, dict):
            self.single_values |= _is_token(node) and _value_of(node) is not None
            for key, child in node.items():
                if not _ONE_VALUE_PER_STEP.search(key.lower()):
                    yield from self._walk(child, kind_of_key(key) or kind, dtype)
                elif key.lower() == "token_logprobs":
                    self.single_values = True
        elif isinstance(node, list):
            for child in node:
                yield from self._walk(child, kind, dtype)

    def _top_k(self, values: Any, indices: Any, kind: str | None, dtype: str | None) -> Iterator[PastedStep]:
        """Yield the steps of what torch.topk returned, labelled with the indices."""
        steps = list(self._walk(values, kind, dtype))
        labels = [[reading.text for reading in step.readings] for step in self._walk(indices, None, None)]
        for place, step in enumerate(steps):
            if place < len(labels) and len(labels[place]) == len(step.readings):
                named = zip(labels[place], step.readings, strict=True)
                step = replace(step, readings=tuple(Reading(label=name, text=each.text) for name, each in named))  # noqa: PLW2901
            yield step

    def _with_alternatives(self, node: dict[str, Any]) -> Iterator[PastedStep]:
        """Yield the step of an object that holds the chosen token's value beside the largest ones."""
        key = next(key for key in _ALTERNATIVES if key in node)
        own = Reading(label=_label_of(node, "chosen"), text=str(_value_of(node)))
        kind = kind_of_key(key)
        found = False
        for step in self._walk(node[key], kind, None):
            found = True
            if all(reading.label != own.label for reading in step.readings):
                step = replace(step, readings=(*step.readings, own))  # noqa: PLW2901
            yield step
        alone = node[key]
        if not found and isinstance(alone, list | dict) and len(alone) == 1:
            only = alone[0] if isinstance(alone, list) else alone
            other = _reading(only, "other") if isinstance(only, dict) and _is_token(only) else None
            if other is not None and other.label != own.label:
                yield PastedStep(readings=(own, other), kind=kind)
                return
        self.single_values |= not found


def _one_step(node: Any, kind: str | None) -> tuple[Reading, ...] | None:
    """Return the values where `node` is one step, else None."""
    if isinstance(node, list):
        items = [item for item in node if item is not None]
        if any(isinstance(item, dict) and any(key in item for key in _ALTERNATIVES) for item in items):
            return None
        readings = _tuples(items) or [_reading(item, str(place)) for place, item in enumerate(items)]
    elif isinstance(node, dict):
        counts = all(key.lower().endswith("tokens") for key in node)
        if counts or _API_FIELDS & node.keys() or (_is_token(node) and kind is None):
            return None
        readings = [_reading(item, key) for key, item in node.items()]
    else:
        return None
    found = [reading for reading in readings if reading is not None]
    return tuple(found) if len(found) == len(readings) >= 2 else None


def _reading(item: Any, otherwise: str) -> Reading | None:
    if isinstance(item, dict):
        value = _value_of(item) if _is_token(item) else None
        return None if value is None else Reading(label=_label_of(item, otherwise), text=str(value))
    return Reading(label=otherwise, text=str(item)) if isinstance(item, Printed) else None


def _is_token(item: dict[str, Any]) -> bool:
    """Whether an object describes one token, rather than mapping tokens to numbers."""
    keys = {key.lower() for key in item}
    return keys <= _TOKEN_FIELDS and bool(keys & KINDS.keys())


def _value_of(item: dict[str, Any]) -> Printed | None:
    value = next((item[key] for key in item if key.lower() in KINDS), None)
    if isinstance(value, Printed):
        return value
    return Printed(value) if isinstance(value, str) and is_number(value) else None


def _label_of(item: dict[str, Any], otherwise: str) -> str:
    fields = {key.lower(): value for key, value in item.items()}
    return str(next((fields[key] for key in LABELS if fields.get(key) is not None), otherwise))


def _kind_of_items(node: Any) -> str | None:
    items = node.values() if isinstance(node, dict) else node
    keys = {key.lower() for item in items if isinstance(item, dict) for key in item if key.lower() in KINDS}
    return KINDS[next(iter(keys))] if len(keys) == 1 else None


def _tuples(items: Sequence[Any]) -> list[Reading | None]:
    """Return the values of tuples such as ('x', -0.5), (11, -0.5) or SGLang's [-0.5, 11, "x"]; empty for others."""
    if not items or not all(isinstance(item, list) and len(item) == len(items[0]) for item in items):
        return []
    columns = list(zip(*items, strict=True))
    numbers = [column for column in columns if all(isinstance(cell, Printed) for cell in column)]
    texts = [
        column
        for column in columns
        if all(cell is None or (isinstance(cell, str) and not isinstance(cell, Printed)) for cell in column)
    ]
    whole = [column for column in numbers if all(cell.isdecimal() for cell in column)]
    values = [column for column in numbers if column not in whole]
    if len(columns) not in (2, 3) or len(numbers) + len(texts) != len(columns) or not (texts or whole):
        return []
    if len(values) != 1:
        # Numbers printed without a point beside texts are values too; a matrix of whole numbers is no list of tuples.
        if not (texts and len(numbers) == 1):
            return []
        values, whole = numbers, []
    named = next((column for column in texts if any(column)), None)
    labels = [
        text if text is not None else (whole[0][place] if whole else str(place))
        for place, text in enumerate(named or [None] * len(items))
    ]
    return [Reading(label=str(label), text=str(text)) for label, text in zip(labels, values[0], strict=True)]
