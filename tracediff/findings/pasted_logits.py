"""Logits, logprobs or probabilities as people paste them, one group of values per decoding step.

`FORMS` lists what is read. JSON and printed objects become trees of lists and mappings whose numbers keep their digits,
and one walk finds the steps in them (`pasted_trees`); tables and log lines are read as lines (`pasted_tables`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

from tracediff.errors import TracediffError
from tracediff.findings.checked_json import what_tracediff_wrote
from tracediff.findings.pasted_steps import PastedStep
from tracediff.findings.pasted_tables import columns, log_lines, piped
from tracediff.findings.pasted_trees import Walk, plain
from tracediff.findings.printed_objects import NotPrintedError, Printed, read_printed

FORMS = (
    "a list of numbers or {token: number}",
    "answers of OpenAI-compatible servers, vLLM, SGLang or llama.cpp with top logprobs",
    "JSON, JSON Lines or a `data:` stream",
    "what Python, numpy or torch print",
    "a Markdown table or CSV",
    "log lines with logprob=…",
)

# A minus sign, spaces that do not break, and the mark at the start of some files, as plain characters.
_TYPOGRAPHY = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\ufeff": None})


def read_steps(text: str) -> tuple[PastedStep, ...]:
    """Return the steps found in a pasted text, in order.

    Raises:
        TracediffError: No step of two values is in it, it is a file that tracediff wrote, or a table in it is damaged.
    """
    content = _without_quoting(text)
    if not content:
        raise TracediffError("the input is empty", f"what is read: {'; '.join(FORMS)}")
    walk = Walk()
    streamed, whole, by_line, printed, in_lines = (
        partial(form, walk=walk) for form in (_streamed, _json, _json_lines, _bracketed, _lines_with_objects)
    )
    for form in (streamed, whole, by_line, piped, printed, log_lines, in_lines, columns):
        try:
            steps = [step for step in form(content) if len(step.readings) > 1]
        except RecursionError:
            continue
        if steps:
            return tuple(steps)
    raise _refusal(walk)


def _refusal(walk: Walk) -> TracediffError:
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


def _streamed(text: str, walk: Walk) -> list[PastedStep]:
    """Server-sent events: `data: {…}` lines."""
    payloads = [line.strip()[5:].strip() for line in text.splitlines() if line.strip().startswith("data:")]
    return walk.steps([_loads(payload) for payload in payloads if payload and payload != "[DONE]"])


def _json(text: str, walk: Walk) -> list[PastedStep]:
    if text[0] not in "[{":
        return []
    document = _loads(text)
    if (ours := what_tracediff_wrote(document)) is not None:
        raise TracediffError(f"this is {ours}, not pasted logits", "paste the logits or logprobs alone")
    return walk.steps([document])


def _json_lines(text: str, walk: Walk) -> list[PastedStep]:
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


def _bracketed(text: str, walk: Walk) -> list[PastedStep]:
    """Objects as Python, numpy and torch print them."""
    if "[" not in text and "{" not in text and "(" not in text:
        return []
    steps = walk.steps(_printed(text))
    note = ("the print leaves values out (…)",) if "..." in text else ()
    return [replace(step, notes=(*step.notes, *note)) for step in steps]


def _printed(text: str) -> list[Any]:
    try:
        return [plain(each) for each in read_printed(text)]
    except (NotPrintedError, RecursionError):
        return []


def _lines_with_objects(text: str, walk: Walk) -> list[PastedStep]:
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
