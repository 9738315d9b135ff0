"""Remedies as CSV: one row per setting and timed point."""

from __future__ import annotations

from collections.abc import Iterator

from tracediff.findings.remedies import RemediesResult, SettingBits, equal_classes, prices
from tracediff.text import csv_table

COLUMNS = (
    "gpu", "model", "dtype", "setting", "keys", "batch", "ms", "spread", "ratio_to_fastest", "ratio_to_default",
    "decode_classes", "prefill_classes", "repeats", "decode_is_prefill", "invariant", "left", "error", "memory_bytes",
)  # fmt: skip


def remedies_to_csv(result: RemediesResult) -> str:
    """Return the rows with a header; what is unknown is empty. A setting that was not timed has one row."""
    return csv_table(COLUMNS, ([row.get(column) for column in COLUMNS] for row in _rows(result)))


def _rows(result: RemediesResult) -> Iterator[dict[str, object]]:
    for price in prices(result):
        same: dict[str, object] = {
            "gpu": result.machine.get("gpu"),
            "model": result.model,
            "dtype": result.dtype,
            "setting": price.setting,
            **(_bits(price.bits) if price.bits is not None else {}),
            "invariant": price.invariant if price.bits is not None else None,
        }
        timed = [point for point in result.times if price.setting in point.rounds]
        for point in timed:
            yield {
                **same,
                "keys": point.keys,
                "batch": point.batch,
                "ms": point.milliseconds(price.setting),
                "spread": point.spread(price.setting),
                "ratio_to_fastest": point.ratio(price.setting),
                "ratio_to_default": point.ratio(price.setting, "default"),
                "decode_classes": _decode_classes(price.bits, point.keys),
            }
        if not timed:
            yield same


def _bits(bits: SettingBits) -> dict[str, object]:
    return {
        "prefill_classes": len(equal_classes(bits.prefill)),
        "repeats": bits.repeats,
        "decode_is_prefill": bits.decode_is_prefill,
        "left": " ".join(bits.left),
        "error": bits.error,
        "memory_bytes": bits.memory_bytes,
    }


def _decode_classes(bits: SettingBits | None, keys: int) -> int | None:
    row = None if bits is None else bits.decode.get(keys)
    return None if row is None else len(equal_classes(row))
