"""What each remedy makes equal and what it costs. Reads and writes remedies.json; no torch.

Bits are measured for every setting by itself; times of all settings at one point (keys, batch) are taken in alternation
on one card, so their ratios mean something and those of two points on two cards do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import msgspec

from tracediff.findings.checked_json import decode_object, decoded, read_json
from tracediff.findings.remedies_catalog import DEFAULT
from tracediff.text import count, printable

SCHEMA = 1
KIND = "remedies"
GOAL = 1.05
"""A remedy is called cheap up to this ratio to the fastest setting, invariant or not, at every point."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
#: Batch sizes are counted through when they are put into words.
BatchSize = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
Rounds = Annotated[tuple[Milliseconds, ...], msgspec.Meta(min_length=1)]
Bits = tuple[tuple[BatchSize, str | None], ...]
"""(batch, hash of row 0's logits); None where two runs gave different bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingBits:
    """What one setting did to bits.

    Attributes:
        setting: Its name.
        decode: By number of cached keys: row 0's logits of one step at every batch.
        prefill: Row 0's logits of all prompt positions at every batch.
        prompt: Tokens of that prompt.
        decode_is_prefill: Whether the last token's logits are the same in a decode step and inside a prefill; None
            where it was not measured.
        left: Kinds of modules whose outputs differ between batches on equal inputs.
        error: Norm of the difference to float32 logits of the same weights, over the norm of those; None unknown.
        memory_bytes: Most memory that the largest step took beyond weights and cached keys; None on the CPU.
        left_out: What could not be measured, and why, one sentence each.
    """

    setting: str
    decode: dict[Number, Bits]
    prefill: Bits
    prompt: Number
    decode_is_prefill: bool | None
    left: tuple[str, ...]
    error: Annotated[float, msgspec.Meta(ge=0, le=1e300)] | None
    memory_bytes: Number | None
    left_out: tuple[str, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether every step and prompt gave the same bits when run again."""
        return all(bits is not None for row in (*self.decode.values(), self.prefill) for _, bits in row)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedPoint:
    """Times of one decode step at one point.

    Attributes:
        keys: Cached keys.
        batch: Rows.
        rounds: Milliseconds of GPU time by setting, one per round; the settings took turns.
        replayed: Whether CUDA graphs were replayed; on the CPU the step itself was run.
    """

    keys: Number
    batch: BatchSize
    rounds: Annotated[dict[str, Rounds], msgspec.Meta(min_length=1)]
    replayed: bool

    def milliseconds(self, setting: str) -> float | None:
        """Return the median of a setting's rounds."""
        return median(self.rounds[setting]) if self.rounds.get(setting) else None

    def spread(self, setting: str) -> float | None:
        """Return (slowest round − fastest) ÷ median."""
        rounds = self.rounds.get(setting)
        return (max(rounds) - min(rounds)) / median(rounds) if rounds else None

    @property
    def fastest(self) -> str:
        """The setting with the smallest median."""
        return min(self.rounds, key=lambda setting: median(self.rounds[setting]))

    def ratio(self, setting: str, to: str | None = None) -> float | None:
        """Return the median over that of another setting, by default the fastest; None where either was not timed."""
        mine, other = self.milliseconds(setting), self.milliseconds(to or self.fastest)
        return None if mine is None or other is None else mine / other


@dataclass(frozen=True, slots=True, kw_only=True)
class RemediesResult:
    """All measurements of one model on one card.

    Attributes:
        machine: What they ran on: `device`, `gpu`, `torch`, `cuda`, `cublas`, `transformers`.
        model, dtype: What ran.
        layers: Blocks kept; None all.
        batches: Batch sizes of decode steps whose bits were compared.
        prefill_batches: Those of the prompt.
        bits: One per setting, in the order in which they were asked for.
        times: One per point.
        failed: Settings that could not be measured at all, and why.
        notes: What a reader must know, one sentence each.
    """

    machine: dict[str, str | None]
    model: str
    dtype: str
    layers: Number | None
    batches: tuple[BatchSize, ...]
    prefill_batches: tuple[BatchSize, ...]
    bits: tuple[SettingBits, ...]
    times: tuple[TimedPoint, ...]
    failed: dict[str, str]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return one line: the bits are of every batch size."""
        where = self.machine.get("gpu") or self.machine.get("device")
        settings = count(len(self.settings), "setting")
        return printable(f"<RemediesResult {self.model} {self.dtype} on {where}: {settings}>")

    @property
    def settings(self) -> tuple[str, ...]:
        """Every setting: those whose bits were compared, then those that were only timed."""
        timed = (name for point in self.times for name in point.rounds)
        return tuple(dict.fromkeys((*(each.setting for each in self.bits), *timed)))

    def bits_of(self, setting: str) -> SettingBits | None:
        """Return one setting's bits."""
        return next((each for each in self.bits if each.setting == setting), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "machine": self.machine,
            "model": self.model,
            "dtype": self.dtype,
            "layers": self.layers,
            "batches": list(self.batches),
            "prefill_batches": list(self.prefill_batches),
            "bits": [bits_to_json(each) for each in self.bits],
            "times": [asdict(each) for each in self.times],
            "failed": self.failed,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a setting buys and costs, over everything that was measured.

    Attributes:
        setting: Its name.
        bits: What it did to bits; None where it was only timed.
        complete: Whether its bits were compared at every batch that was asked for.
        worst_ratio: Largest ratio to the fastest setting over all points; None where it was not timed.
        ratio_to_default: Largest ratio to torch's default.
    """

    setting: str
    bits: SettingBits | None
    complete: bool
    worst_ratio: float | None
    ratio_to_default: float | None

    @property
    def invariant(self) -> bool:
        """Whether every decode step and the prompt had one bit pattern at all batches that were asked for."""
        if self.bits is None or not self.complete or not self.bits.repeats:
            return False
        return all(len(equal_classes(row)) == 1 for row in (*self.bits.decode.values(), self.bits.prefill))

    @property
    def reaches_goal(self) -> bool:
        """Whether it is invariant and at most `GOAL` of the fastest setting at every point."""
        return self.invariant and self.worst_ratio is not None and self.worst_ratio <= GOAL


def equal_classes(row: Bits) -> tuple[tuple[int, ...], ...]:
    """Return the batches with equal bits, in order of their first; one that varies is alone."""
    classes: dict[str, list[int]] = {}
    for batch, bits in row:
        classes.setdefault(bits if bits is not None else f"varies {batch}", []).append(batch)
    return tuple(map(tuple, classes.values()))


def prices(result: RemediesResult) -> tuple[Price, ...]:
    """Return the price of every setting, in the order of the result."""
    found = []
    for setting in result.settings:
        bits = result.bits_of(setting)
        found.append(
            Price(
                setting=setting,
                bits=bits,
                complete=bits is not None and _complete(result, bits),
                worst_ratio=_largest([point.ratio(setting) for point in result.times]),
                ratio_to_default=_largest([point.ratio(setting, DEFAULT) for point in result.times]),
            )
        )
    return tuple(found)


def _complete(result: RemediesResult, bits: SettingBits) -> bool:
    asked = [(row, result.batches) for row in bits.decode.values()] + [(bits.prefill, result.prefill_batches)]
    return bool(bits.decode) and all(tuple(batch for batch, _ in row) == batches for row, batches in asked)


def cheapest_invariant(result: RemediesResult) -> Price | None:
    """Return the invariant setting with the smallest worst ratio; None where none was measured."""
    invariant = [price for price in prices(result) if price.invariant and price.worst_ratio is not None]
    return min(invariant, key=lambda price: price.worst_ratio or 0.0, default=None)


def bits_to_json(bits: SettingBits) -> dict[str, Any]:
    """Return one setting's bits in their JSON form: numbers of keys as text, hashes by batch."""
    return {
        **asdict(bits),
        "decode": {str(keys): [list(each) for each in row] for keys, row in bits.decode.items()},
        "prefill": [list(each) for each in bits.prefill],
    }


def bits_from(data: dict[str, Any]) -> SettingBits:
    """Return one setting's bits from their JSON form.

    Raises:
        ValueError: A field is missing, or has another type or range.
    """
    return decoded(data, SettingBits)


def point_from(data: dict[str, Any]) -> TimedPoint:
    """Return one timed point from its JSON form.

    Raises:
        ValueError: A field is missing, or has another type or range.
    """
    return decoded(data, TimedPoint)


def read_remedies(path: Path) -> RemediesResult:
    """Read a result file.

    Raises:
        TracediffError: No such file, or not a result of `tracediff remedies`.
    """
    document = read_json(path, KIND, (SCHEMA,), "give the file that `tracediff remedies --out` wrote")
    return decode_object(document, RemediesResult, path)


def _largest(ratios: Sequence[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return max(known) if known and len(known) == len(ratios) else None
