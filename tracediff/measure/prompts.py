"""Prompts from a file: one per line as plain text, or JSON Lines with a text and a kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from tracediff.errors import TracediffError
from tracediff.json_input import parse_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt.

    Attributes:
        text: What the model is given.
        kind: What kind of prompt it is, by which results are counted apart; None where the file does not say.
    """

    text: str
    kind: str | None = None


class _Line(msgspec.Struct):
    prompt: str | None = None
    text: str | None = None
    kind: str | None = None


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Return the prompts in a file.

    A file whose first line is a JSON object is JSON Lines: every line has a `prompt` (or `text`), and perhaps a `kind`.
    Every other file is plain text with one prompt per line. Empty lines are skipped.

    Raises:
        TracediffError: It cannot be read, holds no prompt, or a line of it is not what it should be.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TracediffError(
            f"cannot read {path}", "give UTF-8 text with one prompt per line, or JSON Lines"
        ) from error
    numbered = [(number, line.rstrip("\r")) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise TracediffError(f"{path} holds no prompt", "give one prompt per line, or JSON Lines")
    if numbered[0][1].lstrip().startswith("{"):
        return tuple(_prompt_of(path, number, line) for number, line in numbered)
    return tuple(Prompt(text=line) for _, line in numbered)


def _prompt_of(path: Path, number: int, line: str) -> Prompt:
    try:
        found: _Line = parse_json(line, _Line)
    except ValueError as error:
        raise TracediffError(f"{path}, line {number}: {error}", 'give {"prompt": "…"} in every line') from error
    text = found.prompt if found.prompt is not None else found.text
    if not text:
        raise TracediffError(f"{path}, line {number} has no prompt", 'give {"prompt": "…"} in every line')
    return Prompt(text=text, kind=found.kind)
