"""What run-to-run repeats of operations showed. Reads and writes determinism.json, checking every field; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tracediff.findings.checked_json import decode_object, read_json
from tracediff.text import count, printable

SCHEMA = 1
KIND = "determinism"
SETTINGS = ("default", "deterministic")
_HINT = "give the file that `tracediff determinism --out` wrote"

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Run = Annotated[int, msgspec.Meta(ge=2, le=2**53)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Distance = Annotated[float, msgspec.Meta(ge=0, le=1e300)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """One operation, run again and again on the same input.

    Attributes:
        operation: Its name; `model forward` for the whole model.
        dtype: Of its input.
        size: Rows and columns, or what was run, in words.
        setting: `default`, or `deterministic` (`torch.use_deterministic_algorithms`).
        repeats: How often it ran; 0 where it did not.
        first_different: The first run whose bits differ from run 1's, counted from 1; None where all agree.
        different: How many of the runs after the first differ from it.
        largest_share: Largest share of output elements that differ in one run.
        largest_difference: Largest absolute difference; None for indices, whose difference means nothing.
        largest_ulp: The same in ULP of the output's dtype at that magnitude; None for indices.
        kernels: Names of the GPU kernels that one run launched, in order, each once; empty on the CPU.
        refused: Why it did not run, in one line; None where it did.
    """

    operation: str
    dtype: str
    size: str
    setting: str
    repeats: _Count
    first_different: _Run | None = None
    different: _Count = 0
    largest_share: _Share = 0.0
    largest_difference: _Distance | None = None
    largest_ulp: _Distance | None = None
    kernels: tuple[str, ...] = ()
    refused: str | None = None

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise ValueError(f"unknown setting {self.setting[:20]}")
        if self.first_different is not None and not self.first_different <= self.repeats:
            raise ValueError(f"run {self.first_different} of {self.repeats} differs")

    @property
    def varies(self) -> bool:
        """Whether any run gave different bits than the first."""
        return self.first_different is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterminismResult:
    """All measurements.

    Attributes:
        machine: What they ran on: `device`, `gpu`, `torch`, `cuda`, `transformers`.
        model: The model whose forward was repeated; None without one.
        rows: One per operation, dtype, size and setting.
    """

    machine: dict[str, str | None]
    model: str | None
    rows: tuple[Repeats, ...]

    def __repr__(self) -> str:
        """Return one line: the rows hold every repeat's hash."""
        where = self.machine.get("gpu") or self.machine.get("device")
        return printable(f"<DeterminismResult {self.model or 'no model'} on {where}: {count(len(self.rows), 'row')}>")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        form: dict[str, Any] = msgspec.to_builtins(self)
        return {"schema": SCHEMA, "kind": KIND, **form}


def read_determinism(path: Path) -> DeterminismResult:
    """Read a result file.

    Raises:
        TracediffError: No such file, or not a result of `tracediff determinism`.
    """
    return decode_object(read_json(path, KIND, (SCHEMA,), _HINT), DeterminismResult, path)
