"""Finds decoding steps in tables and lines: Markdown, what databases and rich print, CSV, and log lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tracediff.errors import TracediffError
from tracediff.findings.lattice import LOGITS, LOGPROBS, PROBABILITIES, Reading
from tracediff.findings.pasted_steps import LABELS, PastedStep, is_number, kind_of_key

# Columns of numbers that are no values.
_COUNTING_COLUMNS = {*LABELS, "rank", "#", "no", "no.", "index", "position", "step", "count", ""}
_BARS = str.maketrans("│┃║", "|||")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|-?inf(?:inity)?\b"
_PERCENT = re.compile(r"([+-]?\d+(?:\.\d*)?)\s*%")


def piped(text: str) -> list[PastedStep]:
    """A Markdown table, or what databases and rich print with bars between the cells."""
    lines = [line.translate(_BARS).strip() for line in text.splitlines()]
    rows = [line.strip("|") for line in lines if "|" in line and not re.fullmatch(r"[|+:=\-\s\u2500-\u257f]+", line)]
    cells = [[cell.strip().strip("`*") for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    if len(cells) < 2 or len(cells[0]) < 2 or all(map(is_number, cells[0])):
        return []
    return _table(cells[0], cells[1:]) if {len(row) for row in cells} == {len(cells[0])} else []


def log_lines(text: str) -> list[PastedStep]:
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


def columns(text: str) -> list[PastedStep]:
    """CSV with commas, tabs or semicolons; else lines that end with a number, labelled by the text before it."""
    rows = _rows(text) if text[0] not in "[{(" else []
    if not rows or (not is_number(rows[0][-1]) and len(rows[0]) < 2):
        return []
    if not is_number(rows[0][-1]):
        return _table(rows[0], rows[1:])
    if not all(is_number(row[-1]) for row in rows):
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
    if all(is_number(word) for word in words) and len(words) != 2:
        return words
    label = " ".join(words[:-1]).rstrip(":=|>- ").strip("'\"`-* ")
    return [label, words[-1]] if len(words) > 1 else words


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[PastedStep]:
    """Return a table's steps: of its column of values, or else one for each column of numbers."""
    names = [cell.lower() for cell in header]
    for place, row in enumerate(rows):
        if len(row) != len(header):
            raise TracediffError(f"row {place + 2} of the table has {len(row)} cells, the header {len(header)}")
    kinds = [kind_of_key(name) for name in names]
    label = next((names.index(key) for key in LABELS if key in names), None)
    column = next((kinds.index(kind) for kind in (LOGITS, LOGPROBS, PROBABILITIES) if kind in kinds), None)
    if column is None and "value" in names:
        column = names.index("value")
    if column is not None:
        return _by_step(names, rows, label, column, kinds[column])
    percent = [place for place in range(len(header)) if rows and all(_PERCENT.fullmatch(row[place]) for row in rows)]
    rows = [
        [_PERCENT.sub(r"\1e-2", cell) if place in percent else cell for place, cell in enumerate(row)] for row in rows
    ]
    numeric = [place for place in range(len(header)) if all(is_number(row[place]) for row in rows) and rows]
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
        if not is_number(text):
            raise TracediffError(f"{text[:40]!r} is not a number")
    return PastedStep(readings=tuple(Reading(label=label, text=text) for label, text in pairs), kind=kind)
