"""Read and write flips.json: every field is checked for its type and range where it enters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from tracediff.errors import TracediffError
from tracediff.findings.checked_json import decode_object, read_json
from tracediff.findings.flips import (
    Flip,
    FlipSettings,
    FlipsResult,
    PromptSteps,
    Search,
    StepChoice,
    margin_in_ulp,
    margin_unit,
)
from tracediff.findings.flips_summary import summarise

KIND = "flips"
SCHEMA = 2
#: Schema 1 lacks what moved at a flip, divergences and ratios, and gave TF32 margins in float32's ULP.
READABLE = (1, SCHEMA)
_HINT = "give the file that `tracediff flips --out` wrote"


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What a file must hold; its summary is derived and not read."""

    settings: FlipSettings
    machine: dict[str, str | None]
    searches: tuple[Search, ...]
    notes: tuple[str, ...]


def read_flips(path: Path) -> FlipsResult:
    """Read a result file.

    Raises:
        TracediffError: No such file, or not a flip search's result.
    """
    document = read_json(path, KIND, READABLE, _HINT)
    file = decode_object(document, _File, path)
    try:
        return FlipsResult(
            settings=file.settings,
            machine=file.machine,
            searches=tuple(_with_derived_numbers(search) for search in file.searches),
            notes=file.notes,
        )
    except ValueError as error:
        raise TracediffError(f"{path} is damaged", str(error)) from error


def result_to_json(result: FlipsResult) -> dict[str, Any]:
    """Return the JSON form, its summary included."""
    form: dict[str, Any] = msgspec.to_builtins(
        {
            "schema": SCHEMA,
            "kind": KIND,
            "settings": result.settings,
            "machine": result.machine,
            "summary": summarise(result),
            "notes": result.notes,
            "searches": result.searches,
        }
    )
    for search in form["searches"]:
        for prompt in search["prompts"]:
            _without_missing_texts(prompt)
    return form


def flip_to_json(flip: Flip) -> dict[str, Any]:
    """Return the JSON form of one flip."""
    form: dict[str, Any] = msgspec.to_builtins(flip)
    _without_missing_texts({"flips": [form]})
    return form


def prompt_to_json(prompt: PromptSteps) -> dict[str, Any]:
    """Return the JSON form of one prompt's steps."""
    form: dict[str, Any] = msgspec.to_builtins(prompt)
    _without_missing_texts(form)
    return form


def _without_missing_texts(prompt: dict[str, Any]) -> None:
    for flip in prompt["flips"]:
        for side in ("base", "other"):
            flip[side]["top"] = [top if top[2] is not None else top[:2] for top in flip[side]["top"]]


def _with_derived_numbers(search: Search) -> Search:
    """Return a search whose ULP are computed from its logits, whatever the file says."""
    return replace(search, prompts=tuple(_prompt_in_ulp(search, prompt) for prompt in search.prompts))


def _prompt_in_ulp(search: Search, prompt: PromptSteps) -> PromptSteps:
    units = [
        margin_unit(search.format, top, top - margin) for top, margin in zip(prompt.top, prompt.margin, strict=True)
    ]
    flips = tuple(_flip_in_ulp(search, flip) for flip in prompt.flips)
    return replace(prompt, ulp=tuple(units), flips=flips)


def _flip_in_ulp(search: Search, flip: Flip) -> Flip:
    base, other = _choice_in_ulp(search, flip.base), _choice_in_ulp(search, flip.other)
    margin = base.top[0].logit - base.top[1].logit
    return replace(
        flip, base=base, other=other, margin=margin, margin_ulp=base.margin_ulp, moved=flip.moved or _moved(base, other)
    )


def _choice_in_ulp(search: Search, choice: StepChoice) -> StepChoice:
    return replace(choice, margin_ulp=margin_in_ulp(search.format, choice.top))


def _moved(base: StepChoice, other: StepChoice) -> tuple[float, float] | None:
    """Return by how much the two chosen tokens' logits differ, where both lists hold both."""
    changes: Sequence[float] = [
        abs(before - after)
        for token in (base.token, other.token)
        if (before := base.logit_of(token)) is not None and (after := other.logit_of(token)) is not None
    ]
    return (changes[0], changes[1]) if len(changes) == 2 else None
