"""A map as JSON: as `tracediff map --out` stores it, with what the screen says of it in `summary`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracediff.findings.maps import BatchMap, ModuleMap
from tracediff.findings.maps_classes import cheapest_padding, classes_of, prediction_table, rows_to_pad
from tracediff.text import json_text


def map_to_json(found: BatchMap, wanted: Sequence[int] | None = None, buckets: Sequence[int] | None = None) -> str:
    """Return the map as one line of JSON, with classes, paddings and predictions; arguments as `padding_sentences`."""
    summary = {
        "modules": [_classes(module) for module in found.modules],
        "padding": [_padding(module, wanted, buckets) for module in found.forwards if module.counts],
        "predictions": {verdict: list(counts) for verdict, counts in prediction_table(found).items()},
    }
    return json_text({**found.to_dict(), "summary": summary}) + "\n"


def _classes(module: ModuleMap) -> dict[str, Any]:
    classes = classes_of(module)
    return {
        "module": module.name,
        "keys": module.keys,
        "classes": [list(rows) for rows in classes.equal],
        "varying": list(classes.varying),
    }


def _padding(module: ModuleMap, wanted: Sequence[int] | None, buckets: Sequence[int] | None) -> dict[str, Any]:
    """Return the cheapest padding of a forward; `to` is None where none gives the rows the same bits."""
    rows = rows_to_pad(module, wanted, buckets)
    padding = cheapest_padding(module, rows, buckets)
    return {
        "keys": module.keys,
        "rows": rows,
        "to": None if padding is None else [padding.to[each] for each in sorted(set(rows))],
        "more_rows": None if padding is None else padding.more_rows,
        "more_time": None if padding is None else padding.more_time,
        "timed": None if padding is None else padding.timed,
        "unmeasured": None if padding is None else list(padding.unmeasured),
    }
