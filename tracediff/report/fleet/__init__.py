"""A fleet of traces, in every format."""

from collections.abc import Callable, Mapping

from tracediff.fleet.groups import Fleet
from tracediff.report.fleet.json import fleet_to_json
from tracediff.report.fleet.terminal import fleet_to_text

#: The renderer of each format.
RENDERERS: Mapping[str, Callable[[Fleet], str]] = {"table": fleet_to_text, "json": fleet_to_json}
