"""The strips of a map: row counts along a logarithmic axis, one stretch per run of counts with equal bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tracediff.findings.maps import Count, ModuleMap
from tracediff.findings.maps_classes import classes_of, ranges_in_words
from tracediff.report.map.words import classes_in_words, glyph, verdict

_COLOURS = 12
_SHOWN_ORDERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Neighbouring counts of one class.

    Attributes:
        glyph: Letter of the class.
        colour: Number of its colour; None where counts vary from run to run.
        left, width: Place on the axis in per cent.
        words: What it says when pointed at.
    """

    glyph: str
    colour: int | None
    left: float
    width: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One module's strip.

    Attributes:
        label, verdict, classes: In words.
        stretches: From left to right.
        whole: Whether it is the whole forward.
    """

    label: str
    verdict: str
    classes: str
    stretches: tuple[Stretch, ...]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on the axis: a power of two."""

    rows: int
    left: float


def ticks(largest: int) -> tuple[Tick, ...]:
    """Return the powers of two up to the largest count."""
    powers = [2**power for power in range(largest.bit_length()) if 2**power <= largest]
    return tuple(Tick(rows=rows, left=_place(rows, largest)) for rows in powers)


def strip_of(module: ModuleMap, largest: int, whole: bool) -> Strip:
    """Return the strip of a module on an axis from 1 to the largest count of all strips."""
    classes = classes_of(module)
    place = {rows: number for number, members in enumerate(classes.equal) for rows in members}
    runs: list[list[Count]] = []
    for count in module.counts:
        if runs and place.get(runs[-1][-1].rows) == place.get(count.rows):
            runs[-1].append(count)
        else:
            runs.append([count])
    stretches = []
    for number, run in enumerate(runs):
        # A stretch reaches to the next measured count, the last one to the end of what was measured.
        end = runs[number + 1][0].rows if number + 1 < len(runs) else run[-1].rows + 1
        left, right = _place(run[0].rows, largest), _place(end, largest)
        index = place.get(run[0].rows)
        stretches.append(
            Stretch(
                glyph=glyph(index),
                colour=None if index is None else index % _COLOURS,
                left=left,
                width=round(right - left, 4),
                words=_words(module, run, index),
            )
        )
    return Strip(
        label=module.label,
        verdict=verdict(module),
        classes=classes_in_words(module, most=40),
        stretches=tuple(stretches),
        whole=whole,
    )


def _place(rows: int, largest: int) -> float:
    return round(100 * math.log2(rows) / math.log2(largest + 1), 4)


def _words(module: ModuleMap, run: Sequence[Count], index: int | None) -> str:
    rows = f"{ranges_in_words(count.rows for count in run)} rows"
    what = "vary from run to run" if index is None else f"class {glyph(index)}"
    orders = list(dict.fromkeys(count.order for count in run if count.order is not None))
    times = [count.nanoseconds for count in run if count.nanoseconds is not None]
    parts = [f"{module.label}, {rows}: {what}", *orders[:_SHOWN_ORDERS]]
    if times:
        low, high = _microseconds(min(times)), _microseconds(max(times))
        parts.append(low if low == high else f"{low} to {high}")
    return "; ".join(parts)


def _microseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e3:.1f} µs" if nanoseconds < 1e6 else f"{nanoseconds / 1e6:.2f} ms"
