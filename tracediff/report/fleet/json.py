"""A fleet as one JSON document."""

from dataclasses import asdict

from tracediff.fleet.groups import Fleet
from tracediff.text import json_text


def fleet_to_json(fleet: Fleet) -> str:
    """Return every group with its traces and differences, as one JSON document."""
    return json_text({"schema": 1, **asdict(fleet)}, indent=1) + "\n"
