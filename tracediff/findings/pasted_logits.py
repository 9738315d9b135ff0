"""Logits, logprobs or probabilities as people paste them, one group of values per decoding step.

`FORMS` lists what is read. Whatever the form, the text becomes a tree of lists and mappings whose numbers keep their
digits, and one walk finds the steps in it. Where the text names its values (`logprob`, `top_logprobs`, `probs`, …),
only named values count, so that the token counts of an answer's `usage` are never taken for logits.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracediff.dtypes import dtype_named
from tracediff.errors import TracediffError
from tracediff.findings.checked_json import what_tracediff_wrote
from tracediff.findings.lattice import LOGITS, LOGPROBS, PROBABILITIES, Reading
from tracediff.findings.printed_objects import Call, NotPrintedError, Printed, read_printed

FORMS = (
    "a list of numbers or {token: number}",
    "answers of OpenAI-compatible servers, vLLM, SGLang or llama.cpp with top logprobs",
    "JSON, JSON Lines or a `data:` stream",
    "what Python, numpy or torch print",
    "a Markdown table or CSV",
    "log lines with logprob=…",
)

_KINDS = {
    **dict.fromkeys(("logit", "logits", "score", "scores"), LOGITS),
    **dict.fromkeys(("logprob", "logprobs", "log_prob", "log_probs", "logprobability", "logprobsresult"), LOGPROBS),
    **dict.fromkeys(("prob", "probs", "probability", "probabilities"), PROBABILITIES),
}
_KEY_PREFIX = re.compile(r"^(?:top|prompt|output|input|completion|next_token|token_ids|raw)_")
_LABELS = ("decoded_token", "token", "tok_str", "token_str", "text", "token_id", "tokenid", "id")
# Fields of an object that describes one token; a mapping with any other key maps tokens to numbers.
_TOKEN_FIELDS = {*_LABELS, *_KINDS, "bytes", "rank", "special", "value"}
# Lists over steps, not over the tokens of one step: their differences mean nothing.
_ONE_VALUE_PER_STEP = re.compile(
    r"token_logprobs$|chosencandidates$|^tokens$|^prefill$|(?:^|_)(?:ids|indices)$|text_offset$|^bytes$"
)
_ALTERNATIVES = ("top_logprobs", "top_probs", "top_logits")
_API_FIELDS = {"choices", "usage", "object", "model", "meta_info", "timings"}
_ARRAYS = {"tensor", "array", "parameter", "ndarray"}
# Columns of numbers that are no values.
_COUNTING_COLUMNS = {*_LABELS, "rank", "#", "no", "no.", "index", "position", "step", "count", ""}
# A minus sign, spaces that do not break, and the mark at the start of some files, as plain characters; table borders.
_TYPOGRAPHY = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\ufeff": None})
_BARS = str.maketrans("│┃║", "|||")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|-?inf(?:inity)?\b"
_PERCENT = re.compile(r"([+-]?\d+(?:\.\d*)?)\s*%")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastedStep:
    """The values of one decoding step.

    Attributes:
        readings: The values as printed.
        kind: `logits`, `logprobs` or `probabilities` where the input says so, else None.
        dtype: The dtype that the input states (`dtype=torch.bfloat16`), else None.
        name: What the input calls it (the head of a table's column), else None.
        notes: What to keep in mind, one sentence each.
    """

    readings: tuple[Reading, ...]
    kind: str | None = None
    dtype: str | None = None
    name: str | None = None
    notes: tuple[str, ...] = ()


def read_steps(text: str) -> tuple[PastedStep, ...]:
    """Return the steps found in a pasted text, in order.

    Raises:
        TracediffError: No step of two values is in it, it is a file that tracediff wrote, or a table in it is damaged.
    """
    plain = _without_quoting(text)
    if not plain:
        raise TracediffError("the input is empty", f"what is read: {'; '.join(FORMS)}")
    walk = _Walk()
    for form in (_streamed, _json, _json_lines, _piped, _bracketed, _log_lines, _lines_with_objects, _columns):
        try:
            steps = [step for step in form(plain, walk) if len(step.readings) > 1]
        except RecursionError:
            continue
        if steps:
            return tuple(steps)
    raise _refusal(walk)


def _refusal(walk: _Walk) -> TracediffError:
    if walk.single_values:
        return TracediffError(
            "only the chosen token's value of each step is in it", "ask the server for the others too: top_logprobs=5"
        )
    return TracediffError("no logits or logprobs found", f"what is read: {'; '.join(FORMS)}")


def _without_quoting(text: str) -> str:
    """Return the text without Markdown fences, quoting and Python's own prompts."""
    lines = [line for line in text.translate(_TYPOGRAPHY).splitlines() if not line.lstrip().startswith("```")]
    if any(line.startswith(">>>") for line in lines):
        lines = [line for line in lines if not line.startswith((">>>", "... "))]
    elif lines and all(line.startswith(">") for line in lines if line.strip()):
        lines = [line.removeprefix(">").removeprefix(" ") for line in lines]
    return "\n".join(lines).strip()


# -- forms ------------------------------------------------------------------------------------------------------------


def _streamed(text: str, walk: _Walk) -> list[PastedStep]:
    """Server-sent events: `data: {…}` lines."""
    payloads = [line.strip()[5:].strip() for line in text.splitlines() if line.strip().startswith("data:")]
    return walk.steps([_loads(payload) for payload in payloads if payload and payload != "[DONE]"])


def _json(text: str, walk: _Walk) -> list[PastedStep]:
    if text[0] not in "[{":
        return []
    document = _loads(text)
    if (ours := what_tracediff_wrote(document)) is not None:
        raise TracediffError(f"this is {ours}, not pasted logits", "paste the logits or logprobs alone")
    return walk.steps([document])


def _json_lines(text: str, walk: _Walk) -> list[PastedStep]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line[0] in "[{" for line in lines):
        return []
    return walk.steps([_loads(line) for line in lines])


def _loads(text: str) -> Any:
    """Return the JSON value with numbers as they were printed; None where it is no JSON."""
    try:
        return json.loads(text, parse_float=Printed, parse_int=Printed, parse_constant=Printed)
    except (ValueError, RecursionError):
        return None


def _bracketed(text: str, walk: _Walk) -> list[PastedStep]:
    """Objects as Python, numpy and torch print them."""
    if "[" not in text and "{" not in text and "(" not in text:
        return []
    steps = walk.steps(_printed(text))
    note = ("the print leaves values out (…)",) if "..." in text else ()
    return [replace(step, notes=(*step.notes, *note)) for step in steps]


def _printed(text: str) -> list[Any]:
    try:
        return [_plain(each) for each in read_printed(text)]
    except (NotPrintedError, RecursionError):
        return []


def _lines_with_objects(text: str, walk: _Walk) -> list[PastedStep]:
    """Log lines that end with JSON or a printed object."""
    found = []
    for line in text.splitlines():
        starts = [place for place in (line.find(bracket) for bracket in "{[(") if place >= 0]
        for start in sorted(starts):
            value = _loads(line[start:].strip())
            objects = [value] if value is not None else _printed(line[start:])
            if objects:
                found += objects
                break
    return walk.steps(found)


def _piped(text: str, walk: _Walk) -> list[PastedStep]:
    """A Markdown table, or what databases and rich print with bars between the cells."""
    lines = [line.translate(_BARS).strip() for line in text.splitlines()]
    rows = [line.strip("|") for line in lines if "|" in line and not re.fullmatch(r"[|+:=\-\s\u2500-\u257f]+", line)]
    cells = [[cell.strip().strip("`*") for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    if len(cells) < 2 or len(cells[0]) < 2 or all(map(_is_number, cells[0])):
        return []
    return _table(cells[0], cells[1:]) if {len(row) for row in cells} == {len(cells[0])} else []


def _log_lines(text: str, walk: _Walk) -> list[PastedStep]:
    """Lines with `logprob=-0.5`; the token beside it is the label, a step beside it the step."""
    lines = text.splitlines()
    for kind, names in (
        (LOGITS, "logits?"),
        (LOGPROBS, r"log_?prob(?:s|ability)?"),
        (PROBABILITIES, r"prob(?:s|ability)?"),
    ):
        value = re.compile(rf"(?<![A-Za-z]){names}[\"']?\s*[=:]\s*[\"']?({_NUMBER})(%?)(?![\w.])", re.IGNORECASE)
        found = [(number, line, match) for number, line in enumerate(lines, start=1) if (match := value.search(line))]
        if len(found) >= 2:
            return _steps_of_lines(kind, found)
    return []


def _steps_of_lines(kind: str, found: Sequence[tuple[int, str, re.Match[str]]]) -> list[PastedStep]:
    steps: dict[str, list[tuple[str, int, str]]] = {}
    for number, line, match in found:
        text = match[1] if not match[2] else f"{match[1]}e-2"
        label = re.search(r"\b(?:decoded_)?tok(?:en)?(?:_id|_str)?[\"']?\s*[=:]\s*('[^']*'|\"[^\"]*\"|[^\s|,;]+)", line)
        step = re.search(r"\b(?:step|position|pos)\s*[=:#]?\s*(\d+)", line, re.IGNORECASE)
        name = label[1].strip("'\"") if label else f"line {number}"
        steps.setdefault(step[1] if step else "", []).append((name, number, text))
    found_steps = []
    for values in steps.values():
        count = Counter(name for name, _, _ in values)
        readings = [
            Reading(label=name if count[name] == 1 else f"{name} (line {number})", text=text)
            for name, number, text in values
        ]
        repeated = max(count.values()) > 1
        note = ("a token occurs more than once: these lines may be several runs, not one step",) if repeated else ()
        if len(readings) > 1:
            found_steps.append(PastedStep(readings=tuple(readings), kind=kind, notes=note))
    return found_steps


def _columns(text: str, walk: _Walk) -> list[PastedStep]:
    """CSV with commas, tabs or semicolons; else lines that end with a number, labelled by the text before it."""
    rows = _rows(text) if text[0] not in "[{(" else []
    if not rows or (not _is_number(rows[0][-1]) and len(rows[0]) < 2):
        return []
    if not _is_number(rows[0][-1]):
        return _table(rows[0], rows[1:])
    if not all(_is_number(row[-1]) for row in rows):
        return []
    if len(rows[0]) > 2:  # a matrix: one step per row
        return [_step([(str(place), cell) for place, cell in enumerate(row)]) for row in rows]
    return [_step([(row[0] if len(row) == 2 else str(place), row[-1]) for place, row in enumerate(rows)])]


def _rows(text: str) -> list[list[str]]:
    delimiter = next((each for each in ",\t;" if each in text), None)
    if delimiter is None:
        return [_label_and_number(line) for line in text.splitlines() if line.strip()]
    try:
        cells = csv.reader(io.StringIO(text), delimiter=delimiter)
        return [row for row in ([cell.strip() for cell in line] for line in cells) if any(row)]
    except csv.Error:
        return []


def _label_and_number(line: str) -> list[str]:
    words = line.split()
    if all(_is_number(word) for word in words) and len(words) != 2:
        return words
    label = " ".join(words[:-1]).rstrip(":=|>- ").strip("'\"`-* ")
    return [label, words[-1]] if len(words) > 1 else words


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[PastedStep]:
    """Return a table's steps: of its column of values, or else one for each column of numbers."""
    names = [cell.lower() for cell in header]
    for place, row in enumerate(rows):
        if len(row) != len(header):
            raise TracediffError(f"row {place + 2} of the table has {len(row)} cells, the header {len(header)}")
    kinds = [_kind_of_key(name) for name in names]
    label = next((names.index(key) for key in _LABELS if key in names), None)
    column = next((kinds.index(kind) for kind in (LOGITS, LOGPROBS, PROBABILITIES) if kind in kinds), None)
    if column is None and "value" in names:
        column = names.index("value")
    if column is not None:
        return _by_step(names, rows, label, column, kinds[column])
    percent = [place for place in range(len(header)) if rows and all(_PERCENT.fullmatch(row[place]) for row in rows)]
    rows = [
        [_PERCENT.sub(r"\1e-2", cell) if place in percent else cell for place, cell in enumerate(row)] for row in rows
    ]
    numeric = [place for place in range(len(header)) if all(_is_number(row[place]) for row in rows) and rows]
    if label is None:
        label = next((place for place in range(len(header)) if place not in numeric), None)
    return [
        replace(
            _step([(str(place) if label is None else row[label], row[each]) for place, row in enumerate(rows)]),
            name=header[each],
            kind=PROBABILITIES if each in percent else None,
        )
        for each in numeric
        if each != label and names[each] not in _COUNTING_COLUMNS and len(rows) > 1
    ]


def _by_step(
    names: Sequence[str], rows: Sequence[Sequence[str]], label: int | None, column: int, kind: str | None
) -> list[PastedStep]:
    step = next((names.index(key) for key in ("step", "position") if key in names), None)
    steps: dict[str, list[tuple[str, str]]] = {}
    for place, row in enumerate(rows):
        name = str(place) if label is None else row[label]
        steps.setdefault("" if step is None else row[step], []).append((name, row[column]))
    return [_step(pairs, kind) for pairs in steps.values() if len(pairs) > 1]


def _step(pairs: Sequence[tuple[str, str]], kind: str | None = None) -> PastedStep:
    for _, text in pairs:
        if not _is_number(text):
            raise TracediffError(f"{text[:40]!r} is not a number")
    return PastedStep(readings=tuple(Reading(label=label, text=text) for label, text in pairs), kind=kind)


# -- trees ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Array:
    """A printed tensor or array and the dtype that it states."""

    items: Any
    dtype: str | None


def _plain(node: Any) -> Any:
    """Return a printed object with its calls resolved: arrays, numbers such as `np.float32(1.5)`, and objects."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return _plain_call(node) if isinstance(node, Call) else node


def _plain_call(call: Call) -> Any:
    name = call.name.rpartition(".")[2].lower()
    positional = [_plain(argument) for argument in call.positional]
    named = {key: _plain(value) for key, value in call.named.items()}
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


class _Walk:
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
                    yield from self._walk(child, _kind_of_key(key) or kind, dtype)
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
        kind = _kind_of_key(key)
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
    return keys <= _TOKEN_FIELDS and bool(keys & _KINDS.keys())


def _value_of(item: dict[str, Any]) -> Printed | None:
    value = next((item[key] for key in item if key.lower() in _KINDS), None)
    if isinstance(value, Printed):
        return value
    return Printed(value) if isinstance(value, str) and _is_number(value) else None


def _label_of(item: dict[str, Any], otherwise: str) -> str:
    fields = {key.lower(): value for key, value in item.items()}
    return str(next((fields[key] for key in _LABELS if fields.get(key) is not None), otherwise))


def _kind_of_items(node: Any) -> str | None:
    items = node.values() if isinstance(node, dict) else node
    keys = {key.lower() for item in items if isinstance(item, dict) for key in item if key.lower() in _KINDS}
    return _KINDS[next(iter(keys))] if len(keys) == 1 else None


def _kind_of_key(key: str) -> str | None:
    stem, before = key.lower(), ""
    while stem != before:
        before, stem = stem, _KEY_PREFIX.sub("", stem)
    return _KINDS.get(stem)


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


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False
