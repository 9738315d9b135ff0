"""The dataset: one folder per trace (`trace=NAME-HASH/kernels.parquet`), one row per kernel in launch order.

DuckDB, Polars, Spark and pandas read it as a Hive-partitioned dataset. A file appears whole or not at all, and its
name depends only on the trace and on where that lies seen from the dataset. So a task may die and be run again, and a
dataset moved together with its traces is still up to date. No absolute path is stored: it would name users and hosts.

| column | type | |
| --- | --- | --- |
| phase, module | dictionary of strings | null outside every range; module is empty directly under the phase |
| layer, iteration | int32 | null and -1 where there is none |
| name, family, role | dictionary of strings | of the kernel |
| launch_ns, start_ns, duration_ns | int64 | |
| grid_x … block_z, registers, shared_memory_bytes, device, stream, process | int32 | |

The file's metadata holds `tracediff`: JSON with name (the trace's path, see `trace_name`), profiler, gpu, batch, dtype,
model, kernels.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracediff.errors import TracediffError, install_hint
from tracediff.files import replaced_when_complete

if TYPE_CHECKING:
    import pyarrow

    from tracediff.trace import KernelTable

FILE = "kernels.parquet"
_METADATA = b"tracediff"


def import_pyarrow() -> Any:
    """Return pyarrow with its Parquet module.

    Raises:
        TracediffError: It is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: PLC0415 -- optional, and slow to load
    except ImportError:
        raise TracediffError("this needs pyarrow", install_hint("fleet")) from None
    return pyarrow


def trace_name(trace: Path, out: Path) -> str:
    """Return the path of a trace relative to the dataset at `out`.

    Where the two share no folder but the root, that path would spell out an absolute one: then only the folder and the
    file are named.
    """
    trace, out = trace.resolve(), out.resolve()
    common = Path(os.path.commonpath([trace, out]))
    return os.path.relpath(trace, out) if common != common.parent else "/".join(trace.parts[-2:]).lstrip("/")


def partition_of(trace: Path, out: Path) -> str:
    """Return the folder of a trace in the dataset: its file name, and a hash of where it is and what state it is in."""
    state = trace.stat()
    identity = f"{os.path.relpath(trace.resolve(), out.resolve())}\0{state.st_size}\0{state.st_mtime_ns}"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", trace.name)[:80]
    return f"trace={name}-{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:12]}"


def write_table(table: KernelTable, trace: Path, out: Path) -> None:
    """Write the kernel table of `trace` into its folder of the dataset at `out`."""
    pyarrow = import_pyarrow()
    arrow = _to_arrow(table, trace_name(trace, out), pyarrow)
    folder = out / partition_of(trace, out)
    folder.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(folder / FILE) as temporary:
        pyarrow.parquet.write_table(arrow, temporary, compression="zstd")


def read_description(file: Path) -> dict[str, Any]:
    """Return what the metadata of a file says of its trace."""
    pyarrow = import_pyarrow()
    try:
        metadata = pyarrow.parquet.read_schema(file).metadata or {}
        described = json.loads(metadata.get(_METADATA, b"{}"))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise TracediffError(f"{file} is damaged", "remove it and ingest its trace again") from error
    return described if isinstance(described, dict) else {}


def _to_arrow(table: KernelTable, name: str, pyarrow: Any) -> pyarrow.Table:
    layer = np.array([-1 if key.layer is None else key.layer for key in table.keys], dtype=np.int32)[table.key]
    columns = {
        "phase": _dictionary(pyarrow, table.key, [key.phase for key in table.keys]),
        "layer": pyarrow.array(layer, mask=layer < 0),
        "module": _dictionary(pyarrow, table.key, [None if key.phase is None else key.module for key in table.keys]),
        "iteration": pyarrow.array(table.iteration),
        "name": _dictionary(pyarrow, table.name, list(table.names)),
        "family": _dictionary(pyarrow, table.name, [parsed.family for parsed in table.parsed]),
        "role": _dictionary(pyarrow, table.name, [parsed.role for parsed in table.parsed]),
        **{column: pyarrow.array(getattr(table, column)) for column in ("launch_ns", "start_ns", "duration_ns")},
        **{f"grid_{axis}": pyarrow.array(table.grid[:, index].copy()) for index, axis in enumerate("xyz")},
        **{f"block_{axis}": pyarrow.array(table.block[:, index].copy()) for index, axis in enumerate("xyz")},
        **{
            column: pyarrow.array(getattr(table, column))
            for column in ("registers", "shared_memory_bytes", "device", "stream", "process")
        },
    }
    info = table.info
    described = {field: getattr(info, field) for field in ("profiler", "gpu", "batch", "dtype", "model")}
    metadata = {_METADATA: json.dumps({"name": name, **described, "kernels": len(table)}).encode()}
    return pyarrow.table(columns).replace_schema_metadata(metadata)


def _dictionary(pyarrow: Any, codes: np.ndarray[Any, Any], values: list[str | None]) -> Any:
    """Make a dictionary array of `values[codes]`; equal values become one."""
    distinct = list(dict.fromkeys(value for value in values if value is not None))
    place = {value: index for index, value in enumerate(distinct)}
    recoded = np.array([-1 if value is None else place[value] for value in values], dtype=np.int32)[codes]
    # A name may hold what no UTF-8 file can: lone surrogates.
    safe = [value.encode("utf-8", errors="replace").decode() for value in distinct]
    return pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(recoded, mask=recoded < 0), pyarrow.array(safe, type=pyarrow.string())
    )
