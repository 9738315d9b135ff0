"""Controls that found other bits, in words for the end of a capture."""

from __future__ import annotations

from collections.abc import Mapping

from tracediff.measured import Control

_CONTROL_WORDS = {
    "run_to_run": ("run to run", "THE SAME RUN TWICE GIVES OTHER BITS"),
    "neighbours": ("other neighbours", "LEAK: a row's bits depend on what its neighbours hold"),
    "position": ("row position", "a row's bits depend on its position in the batch"),
    "profiler": ("with and without the profiler", "the profiler changes bits"),
}


def control_findings(controls: Mapping[str, Control]) -> list[str]:
    """Return a sentence for every control that found other bits, with where it first did.

    Args:
        controls: As measured, by name.
    """
    sentences = []
    for name, (_, words) in _CONTROL_WORDS.items():
        if name in controls and controls[name].equal is False:
            where = controls[name].first
            sentences.append(f"{words[0].upper()}{words[1:]}" + (f" (first: {where})." if where else "."))
    return sentences
