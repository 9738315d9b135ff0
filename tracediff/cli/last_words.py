"""The last words of a capture: the answer for batch 1 against each other batch size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tracediff.api import diff
from tracediff.diff.answer import control_answers
from tracediff.measured import Evidence
from tracediff.report.diff.answer_words import answer_line, controls_line


def what_was_found(traces: Mapping[int, Path], evidence: Evidence | None) -> list[str]:
    """Return what `tracediff diff` will answer, a line per comparison; nothing where nothing was measured.

    Args:
        traces: The trace of each batch size, the reference first, with the evidence beside them.
        evidence: What was measured.

    Raises:
        TracediffError: A trace cannot be read.
    """
    if evidence is None:
        return []
    reference, *others = traces
    if not others:
        return [f"batch {reference}  controls: {controls_line(control_answers(evidence.controls))}"]
    lines = []
    for other in others:
        judgement, rest = answer_line(diff(traces[reference], traces[other]).answer)
        lines.append(f"batch {reference} → {other}  {judgement}  {rest}")
    return lines
