"""The lattice of pasted logits or logprobs as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from tracediff.findings.lattice import Lattice
from tracediff.text import json_text


def lattices_to_json(lattices: Sequence[Lattice], names: Sequence[str | None] = ()) -> str:
    """Return one JSON document with every step.

    Args:
        lattices: One per decoding step.
        names: What the input calls each step; null where it does not.
    """
    steps = [
        {"name": names[place] if place < len(names) else None, "sentence": lattice.sentence, **asdict(lattice)}
        for place, lattice in enumerate(lattices)
    ]
    return json_text({"schema": 1, "kind": "lattice", "steps": steps}) + "\n"
