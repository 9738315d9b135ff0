"""A map as rows of a table: CSV and Parquet, one row per module and row count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite, replaced_when_complete
from tracediff.findings.maps import BatchMap
from tracediff.findings.maps_classes import classes_of
from tracediff.report.measured_on import versions
from tracediff.text import csv_table

COLUMNS = (
    "gpu", "versions", "model", "dtype", "setting", "module", "kind", "shape", "keys", "rows", "class", "bits", "order",
    "kernels", "predicted", "reason", "ns",
)  # fmt: skip


def rows_of(found: BatchMap) -> Iterator[dict[str, Any]]:
    """Yield the rows; `class` counts from 1 and is None, like `bits`, where a count varies from run to run."""
    same = {
        "gpu": found.machine.get("gpu"),
        "versions": versions(found.machine),
        "model": found.model,
        "dtype": found.dtype,
        "setting": found.setting,
    }
    for module in found.modules:
        place = {rows: number for number, members in enumerate(classes_of(module).equal, 1) for rows in members}
        for count in module.counts:
            yield {
                **same,
                "module": module.name,
                "kind": module.kind,
                "shape": module.shape,
                "keys": module.keys,
                "rows": count.rows,
                "class": place.get(count.rows),
                "bits": count.bits,
                "order": count.order,
                "kernels": " + ".join(count.kernels) or None,
                "predicted": count.predicted,
                "reason": count.reason,
                "ns": count.nanoseconds,
            }


def map_to_csv(found: BatchMap) -> str:
    """Return the rows as CSV with a header; what is unknown is empty."""
    return csv_table(COLUMNS, (list(row.values()) for row in rows_of(found)))


def write_parquet(found: BatchMap, path: Path, force: bool = False) -> None:
    """Write the rows as a Parquet file.

    Raises:
        TracediffError: pyarrow is not installed, or the file may not be written.
    """
    try:
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise TracediffError("Parquet needs pyarrow", "pip install pyarrow, or write CSV") from error
    integers = ("keys", "rows", "class", "ns")
    schema = pyarrow.schema([(name, pyarrow.int64() if name in integers else pyarrow.string()) for name in COLUMNS])
    refuse_to_overwrite(path, force)
    with replaced_when_complete(path) as temporary:
        table = pyarrow.Table.from_pylist(list(rows_of(found)), schema=schema)
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
