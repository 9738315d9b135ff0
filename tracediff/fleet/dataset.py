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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracediff.errors import TracediffError, install_hint
from tracediff.files import replaced_when_complete, resolved
from tracediff.json_input import parse_json
from tracediff.text import without_surrogates

if TYPE_CHECKING:
    import pyarrow

    from tracediff.trace import KernelTable
    from tracediff.trace.table import Bool, Int64

FILE = "kernels.parquet"
_METADATA = b"tracediff"
_AGAIN = "remove it and ingest its trace again"


@dataclass(frozen=True, slots=True)
class CodedTexts:
    """A column of texts: a code per row, and the text of each code; the last is None, for nulls."""

    codes: Int64
    values: list[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Which kernels ran where, in launch order; at least one."""

    phase: CodedTexts
    module: CodedTexts
    name: CodedTexts
    iteration: Int64


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
    trace, out = resolved(trace), resolved(out)
    common = Path(os.path.commonpath([trace, out]))
    return os.path.relpath(trace, out) if common != common.parent else "/".join(trace.parts[-2:]).lstrip("/")


def partition_of(trace: Path, out: Path) -> str:
    """Return the folder of a trace in the dataset: its file name, and a hash of where it is and what state it is in."""
    state = trace.stat()
    identity = f"{os.path.relpath(resolved(trace), resolved(out))}\0{state.st_size}\0{state.st_mtime_ns}"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", trace.name)[:80]
    return f"trace={name}-{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:12]}"


def write_table(table: KernelTable, trace: Path, out: Path) -> None:
    """Write the kernel table of `trace` into its folder of the dataset at `out`."""
    pyarrow = import_pyarrow()
    arrow = _to_arrow(table, trace_name(trace, out), pyarrow)
    folder = out / partition_of(trace, out)
    folder.mkdir(parents=True, exist_ok=True)
    # Numbers coded as well would take a fifth longer to write, and a fifth more room.
    texts = [field.name for field in arrow.schema if pyarrow.types.is_dictionary(field.type)]
    with replaced_when_complete(folder / FILE) as temporary:
        pyarrow.parquet.write_table(arrow, temporary, compression="zstd", use_dictionary=texts)


def read_sequence(file: Path) -> Sequence:
    """Read which kernels ran where.

    Raises:
        TracediffError: The file is damaged, holds no kernels, or lacks a column of the right type.
    """
    pyarrow = import_pyarrow()
    try:
        table = pyarrow.parquet.read_table(
            file, columns=["phase", "module", "name", "iteration"], partitioning=None
        ).combine_chunks()
        table.validate(full=True)  # pyarrow itself looks neither at codes nor at what texts hold
        iteration = table.column("iteration")
        if not len(table) or not pyarrow.types.is_integer(iteration.type) or iteration.null_count:
            raise pyarrow.ArrowInvalid("no kernels, or no iterations")
        return Sequence(
            phase=_coded(pyarrow, table.column("phase")),
            module=_coded(pyarrow, table.column("module")),
            name=_coded(pyarrow, table.column("name")),
            iteration=iteration.cast(pyarrow.int64()).to_numpy(),
        )
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise TracediffError(f"{file} is damaged", _AGAIN) from error


def _coded(pyarrow: Any, column: Any) -> CodedTexts:
    array = column.combine_chunks()
    if not pyarrow.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    if not (pyarrow.types.is_string(array.type.value_type) or pyarrow.types.is_large_string(array.type.value_type)):
        raise pyarrow.ArrowInvalid("a column of texts holds something else")
    values: list[str | None] = [*array.dictionary.to_pylist(), None]
    codes = array.indices.cast(pyarrow.int64()).fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
    return CodedTexts(codes, values)


def read_description(file: Path) -> dict[str, Any]:
    """Return what the metadata of a file says of its trace."""
    pyarrow = import_pyarrow()
    try:
        metadata = pyarrow.parquet.read_schema(file).metadata or {}
        described = parse_json(metadata.get(_METADATA, b"{}"))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise TracediffError(f"{file} is damaged", _AGAIN) from error
    return described if isinstance(described, dict) else {}


def _to_arrow(table: KernelTable, name: str, pyarrow: Any) -> pyarrow.Table:
    layer = np.array([-1 if key.layer is None else key.layer for key in table.keys], dtype=np.int32)[table.key]
    columns = {
        "phase": _dictionary(pyarrow, table.key, [key.phase for key in table.keys]),
        "layer": _numbers(pyarrow, layer, layer >= 0),
        "module": _dictionary(pyarrow, table.key, [None if key.phase is None else key.module for key in table.keys]),
        "iteration": _numbers(pyarrow, table.iteration),
        "name": _dictionary(pyarrow, table.name, list(table.names)),
        "family": _dictionary(pyarrow, table.name, [parsed.family for parsed in table.parsed]),
        "role": _dictionary(pyarrow, table.name, [parsed.role for parsed in table.parsed]),
        **{column: _numbers(pyarrow, getattr(table, column)) for column in ("launch_ns", "start_ns", "duration_ns")},
        **{f"grid_{axis}": _numbers(pyarrow, table.grid[:, index]) for index, axis in enumerate("xyz")},
        **{f"block_{axis}": _numbers(pyarrow, table.block[:, index]) for index, axis in enumerate("xyz")},
        **{
            column: _numbers(pyarrow, getattr(table, column))
            for column in ("registers", "shared_memory_bytes", "device", "stream", "process")
        },
    }
    info = table.info
    described = {field: getattr(info, field) for field in ("profiler", "gpu", "batch", "dtype", "model")}
    metadata = {_METADATA: json.dumps({"name": without_surrogates(name), **described, "kernels": len(table)}).encode()}
    return pyarrow.table(columns).replace_schema_metadata(metadata)


# Arrays are made of their buffers: `pyarrow.array` imports pandas, which takes as long as ten traces.


def _numbers(pyarrow: Any, values: np.ndarray[Any, Any], known: Bool | None = None) -> Any:
    """Make an array of numbers, null where they are not known."""
    bits = None if known is None else pyarrow.py_buffer(np.packbits(known, bitorder="little"))
    content = pyarrow.py_buffer(np.ascontiguousarray(values))
    return pyarrow.Array.from_buffers(pyarrow.from_numpy_dtype(values.dtype), len(values), [bits, content])


def _strings(pyarrow: Any, texts: list[str]) -> Any:
    """Make an array of texts; lone surrogates, which a name may hold but no UTF-8 file can, are replaced."""
    encoded = [without_surrogates(text).encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pyarrow.StringArray.from_buffers(len(encoded), pyarrow.py_buffer(ends), pyarrow.py_buffer(b"".join(encoded)))


def _dictionary(pyarrow: Any, codes: np.ndarray[Any, Any], values: list[str | None]) -> Any:
    """Make a dictionary array of `values[codes]`; equal values become one."""
    distinct = list(dict.fromkeys(value for value in values if value is not None))
    place = {value: index for index, value in enumerate(distinct)}
    recoded = np.array([-1 if value is None else place[value] for value in values], dtype=np.int32)[codes]
    return pyarrow.DictionaryArray.from_arrays(_numbers(pyarrow, recoded, recoded >= 0), _strings(pyarrow, distinct))
