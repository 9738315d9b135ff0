"""Remedies as JSON: as `tracediff remedies --out` stores them, with what the screen says of them in `summary`."""

from __future__ import annotations

from typing import Any

from tracediff.findings.remedies import Price, RemediesResult, SettingBits, equal_classes, prices
from tracediff.text import json_text


def remedies_to_json(result: RemediesResult) -> str:
    """Return the result as one line of JSON, with every setting's classes and price, and the fastest at each point."""
    summary = {
        "settings": [_price(price) for price in prices(result)],
        "fastest": [
            {
                "keys": point.keys,
                "batch": point.batch,
                "setting": point.fastest,
                "milliseconds": point.milliseconds(point.fastest),
            }
            for point in result.times
        ],
    }
    return json_text({**result.to_dict(), "summary": summary}) + "\n"


def _price(price: Price) -> dict[str, Any]:
    return {
        "setting": price.setting,
        "bit_equal": None if price.bits is None else price.invariant,
        "worst_ratio_to_fastest": price.worst_ratio,
        "worst_ratio_to_default": price.ratio_to_default,
        **({} if price.bits is None else _classes(price.bits)),
    }


def _classes(bits: SettingBits) -> dict[str, Any]:
    """Return the batches with equal bits; one that varies is a class of its own."""
    return {
        "decode_classes": {
            str(keys): [list(batches) for batches in equal_classes(row)] for keys, row in bits.decode.items()
        },
        "prefill_classes": [list(batches) for batches in equal_classes(bits.prefill)],
        "repeats": bits.repeats,
    }
