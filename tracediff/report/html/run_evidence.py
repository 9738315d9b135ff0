"""Evidence about the whole run (logits, tokens, repair, controls): in words where understood, else as it stands."""

from __future__ import annotations

from typing import Any

from tracediff.report.html.data import Step
from tracediff.text import printable, shorten

_LONGEST = 400

Section = tuple[str, tuple[tuple[str, str], ...]]


def logits_step(evidence: dict[str, Any] | None) -> Step:
    """Return whether the logits agree, from `evidence["logits"]`: `{phase: {"equal": bool, …}}` or one such object."""
    found = _equalities((evidence or {}).get("logits"))
    if not found:
        return Step(title="Logits", value="not measured", text="of the repeated row, per step", state="missing")
    differing = [name for name, equal in found if not equal]
    if not differing:
        return Step(title="Logits", value="equal bits", text=f"in {_steps(len(found))}", state="clear")
    return Step(
        title="Logits",
        value=f"{len(differing)} of {len(found)} differ",
        text=f"first in {differing[0]}" if differing[0] else "in bits",
        state="changed",
    )


def token_step(evidence: dict[str, Any] | None) -> Step:
    """Return whether a token changed, from `evidence["tokens"]` in the same shapes."""
    found = _equalities((evidence or {}).get("tokens"))
    if not found:
        return Step(title="Token", value="not measured", text="greedy choice of the repeated row", state="missing")
    flipped = [name for name, equal in found if not equal]
    if not flipped:
        return Step(title="Token", value="same", text=f"in {_steps(len(found))}", state="clear")
    text = f"first in {flipped[0]}" if flipped[0] else "other greedy choice"
    return Step(title="Token", value=f"{len(flipped)} of {len(found)} flip", text=text, state="changed")


def _steps(number: int) -> str:
    return "the one step measured" if number == 1 else f"all {number} steps"


def _equalities(value: Any) -> list[tuple[str, bool]]:
    """Return (name, equal) of every object in `value` that says `equal`."""
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("equal"), bool):
        return [("", value["equal"])]
    return [
        (printable(str(name)), part["equal"])
        for name, part in value.items()
        if isinstance(part, dict) and isinstance(part.get("equal"), bool)
    ]


def sections(evidence: dict[str, Any] | None) -> tuple[Section, ...]:
    """Return all of it as headed lists of (name, value): whatever a capture measured can be read here."""
    if not isinstance(evidence, dict):
        return ()
    return tuple(
        (printable(str(name)).replace("_", " "), _lines(value)) for name, value in evidence.items() if value is not None
    )


def _lines(value: Any) -> tuple[tuple[str, str], ...]:
    if isinstance(value, dict):
        return tuple((printable(str(name)).replace("_", " "), _words(part)) for name, part in value.items())
    return (("", _words(value)),)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif value is None:
        text = "–"
    elif isinstance(value, dict):
        text = ", ".join(f"{name}: {_words(part)}" for name, part in value.items())
    elif isinstance(value, (list, tuple)):
        text = ", ".join(map(_words, value)) or "none"
    else:
        text = str(value)
    return printable(shorten(text, _LONGEST))
