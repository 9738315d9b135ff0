"""A map: which row counts give the same bits, per module and for the whole forward. Reads and writes it; no torch.

A module is run at many row counts with the same row 0; the map keeps the hash of that row's output, the order of the
sum, what the rules predicted, and the time. Everything else (classes, padding, what breaks a class) is derived.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tracediff.errors import TracediffError
from tracediff.findings.checked_json import decoded, read_json
from tracediff.findings.map_head import KIND
from tracediff.text import count, printable

SCHEMA = 1
FORWARD = "forward"

#: Row counts are counted through when they are put into words.
_Rows = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One module at one row count.

    Attributes:
        rows: How many rows were computed together.
        bits: Hash of row 0's output; None where a second run gave different bits.
        order: How the sum was taken, in words (`nvjet GEMM, split-K 3, k-step 64`); None on the CPU.
        kernels: Names of the kernels, as short as their parser makes them; empty on the CPU.
        nanoseconds: GPU time of its kernels, median of a few runs; on the CPU the call itself. None unknown.
        predicted: Verdict of the rules on the step from the count before to this one; None for the first.
        reason: Why, in the rules' words.
    """

    rows: int
    bits: str | None
    order: str | None = None
    kernels: tuple[str, ...] = ()
    nanoseconds: int | None = None
    predicted: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleMap:
    """One module, or the whole forward, over row counts.

    Attributes:
        name: `q_proj`, `qkv (fused)`, `input_layernorm`, `attention`, `forward`.
        kind: `product`, `norm`, `attention` or `forward`.
        shape: In words (`4096 → 6144`).
        keys: Cached keys, for attention and the forward; None where there are none to count.
        inputs: Checksum of row 0's input and the weights: hashes of two maps compare only where it is the same.
        counts: In ascending order of rows.
        left_out: Row counts that could not be measured, and why, one sentence each.
    """

    name: str
    kind: str
    shape: str
    keys: int | None
    inputs: str
    counts: tuple[Count, ...]
    left_out: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name, with the number of cached keys where there is one."""
        return self.name if self.keys is None else f"{self.name}, {self.keys} keys"

    @property
    def identity(self) -> tuple[str, str, int | None]:
        """What makes it the same module in another map."""
        return self.name, self.shape, self.keys


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMap:
    """A whole map.

    Attributes:
        machine: What it was measured on: `device`, `gpu`, `torch`, `cuda`, `cublas`, `cudnn`, `triton`, `transformers`.
        model, dtype, setting: What ran.
        layers: Blocks kept in the forward; None all.
        hashed: How the bits were hashed; hashes compare with those of another map only where it is the same.
        modules: The forward first.
        notes: What a reader must know, one sentence each.
    """

    machine: dict[str, str | None]
    model: str
    dtype: str
    setting: str
    layers: int | None
    hashed: str
    modules: tuple[ModuleMap, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return one line: the modules hold every row count's hashes."""
        where = self.machine.get("gpu") or self.machine.get("device")
        modules = count(len(self.modules), "module")
        return printable(f"<BatchMap {self.model} {self.dtype}, {self.setting}, on {where}: {modules}>")

    @property
    def forwards(self) -> tuple[ModuleMap, ...]:
        """The whole forward, one per number of cached keys."""
        return tuple(module for module in self.modules if module.kind == FORWARD)

    @property
    def parts(self) -> tuple[ModuleMap, ...]:
        """Everything but the whole forward."""
        return tuple(module for module in self.modules if module.kind != FORWARD)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "machine": self.machine,
            "model": self.model,
            "dtype": self.dtype,
            "setting": self.setting,
            "layers": self.layers,
            "hashed": self.hashed,
            "modules": [module_to_json(module) for module in self.modules],
            "notes": list(self.notes),
        }


# Columns whose texts repeat are written once, with an index per row count: a map has thousands of counts.
_TEXTS = ("bits", "order", "predicted", "reason")


def module_to_json(module: ModuleMap) -> dict[str, Any]:
    """Return one module in its JSON form: a column per field, repeated texts once."""
    columns: dict[str, Any] = {name: _coded([getattr(count, name) for count in module.counts]) for name in _TEXTS}
    columns["kernels"] = _coded([list(count.kernels) for count in module.counts])
    return {
        "name": module.name,
        "kind": module.kind,
        "shape": module.shape,
        "keys": module.keys,
        "inputs": module.inputs,
        "rows": [count.rows for count in module.counts],
        "nanoseconds": [count.nanoseconds for count in module.counts],
        **columns,
        "left_out": list(module.left_out),
    }


class _Texts(msgspec.Struct):
    """A column of texts: the distinct ones, and the place in them per row count; -1 for none."""

    values: tuple[str, ...]
    index: tuple[int, ...]


class _Lists(msgspec.Struct):
    """A column of lists of texts."""

    values: tuple[tuple[str, ...], ...]
    index: tuple[int, ...]


class _Module(msgspec.Struct):
    """One module in a file."""

    name: str
    kind: str
    shape: str
    keys: _Number | None
    inputs: str
    rows: tuple[_Rows, ...]
    nanoseconds: tuple[_Number | None, ...]
    bits: _Texts
    order: _Texts
    predicted: _Texts
    reason: _Texts
    kernels: _Lists
    left_out: tuple[str, ...]


class _File(msgspec.Struct):
    """A whole map in a file."""

    machine: dict[str, str | None]
    model: str
    dtype: str
    setting: str
    layers: _Number | None
    hashed: str
    modules: tuple[_Module, ...]
    notes: tuple[str, ...]


def module_from(data: dict[str, Any]) -> ModuleMap:
    """Return one module from its JSON form.

    Raises:
        ValueError: A field is missing or of another type; columns of other lengths, indices out of range, rows out of
            order.
    """
    return _module(decoded(data, _Module))


def _module(module: _Module) -> ModuleMap:
    rows = module.rows
    if any(a >= b for a, b in pairwise(rows)):
        raise ValueError("row counts are not ascending")
    texts = {name: _decoded(getattr(module, name), len(rows)) for name in _TEXTS}
    kernels = _decoded(module.kernels, len(rows))
    if len(module.nanoseconds) != len(rows) or None in kernels:
        raise ValueError("a column does not fit its rows")
    counts = tuple(
        Count(
            rows=row,
            nanoseconds=module.nanoseconds[place],
            kernels=kernels[place],
            **{name: texts[name][place] for name in _TEXTS},
        )
        for place, row in enumerate(rows)
    )
    return ModuleMap(
        name=module.name,
        kind=module.kind,
        shape=module.shape,
        keys=module.keys,
        inputs=module.inputs,
        counts=counts,
        left_out=module.left_out,
    )


def map_from(data: dict[str, Any]) -> BatchMap:
    """Return a map from its JSON form.

    Raises:
        ValueError: As `module_from`.
    """
    file = decoded(data, _File)
    return BatchMap(
        machine=file.machine,
        model=file.model,
        dtype=file.dtype,
        setting=file.setting,
        layers=file.layers,
        hashed=file.hashed,
        modules=tuple(map(_module, file.modules)),
        notes=file.notes,
    )


def read_map(path: Path) -> BatchMap:
    """Read a map.

    Raises:
        TracediffError: No such file, or not a map.
    """
    document = read_json(path, KIND, (SCHEMA,), "give the file that `tracediff map --out` wrote")
    try:
        return map_from(document)
    except (ValueError, RecursionError) as error:
        raise TracediffError(f"{path} is damaged", str(error)) from error


def _coded(values: Sequence[Any]) -> dict[str, Any]:
    """Write a column as its distinct values and an index per row; None is -1."""
    distinct: list[Any] = []
    places: dict[str, int] = {}
    index = []
    for value in values:
        if value is None:
            index.append(-1)
            continue
        key = json.dumps(value)
        if key not in places:
            places[key] = len(distinct)
            distinct.append(value)
        index.append(places[key])
    return {"values": distinct, "index": index}


def _decoded(column: _Texts | _Lists, length: int) -> list[Any]:
    if len(column.index) != length or any(not -1 <= each < len(column.values) for each in column.index):
        raise ValueError("a column does not fit its rows")
    return [None if each == -1 else column.values[each] for each in column.index]
