"""What run-to-run repeats of operations showed. Reads and writes determinism.json; no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError

SCHEMA = 1
KIND = "determinism"
SETTINGS = ("default", "deterministic")


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
    repeats: int
    first_different: int | None = None
    different: int = 0
    largest_share: float = 0.0
    largest_difference: float | None = None
    largest_ulp: float | None = None
    kernels: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def varies(self) -> bool:
        """Whether any run gave other bits than the first."""
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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "machine": self.machine,
            "model": self.model,
            "rows": [asdict(row) for row in self.rows],
        }


def row_from(data: dict[str, Any]) -> Repeats:
    """Return one measurement from its JSON form."""
    return Repeats(**{**data, "kernels": tuple(data["kernels"])})


def read_determinism(path: Path) -> DeterminismResult:
    """Read a result file.

    Raises:
        TracediffError: No such file, or not a result of `tracediff determinism`.
    """
    hint = "give the file that `tracediff determinism --out` wrote"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
    except ValueError as error:
        raise TracediffError(f"{path} is not JSON", hint) from error
    if not isinstance(data, dict) or data.get("kind") != KIND or data.get("schema") != SCHEMA:
        raise TracediffError(f"{path} holds no determinism result of schema {SCHEMA}", hint)
    try:
        rows = tuple(row_from(row) for row in data["rows"])
        return DeterminismResult(machine=data["machine"], model=data["model"], rows=rows)
    except (KeyError, TypeError) as error:
        raise TracediffError(f"{path} is damaged", f"{type(error).__name__}: {error}") from error
