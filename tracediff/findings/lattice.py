"""The lattice that numbers lie on: which dtype printed logits or logprobs came from, and how many ULP a gap is.

A float format holds, between two powers of two, numbers one ULP apart. Numbers that came out of a bfloat16 GEMM lie on
bfloat16's lattice even after a cast to float32 and a print, so numbers pasted into an issue still tell their dtype.
`log_softmax` subtracts the same number from every logit of a step: the logprobs leave the lattice, their differences
stay on it (up to one float32 rounding each). So logprobs are judged by differences.

A decimal print rounds. A number fits a lattice when it is no farther from it than its print can be wrong, or when it is
the shortest print of the nearest number (what numpy and torch's `item` write). Since a coarse print fits anything, each
fit comes with the chance that arbitrary numbers would fit as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from tracediff.dtypes import FORMATS, FloatFormat, Floats, dtype_named
from tracediff.errors import TracediffError

# A fit that arbitrary numbers would reach more often than this proves nothing.
_LARGEST_CHANCE_LOG10 = -3.0
# Differences are tried against every power of two in this range (logits: coarser than 2^8 or finer than 2^-40 is no
# spacing that a 16- or 32-bit logit of a language model has).
_SPACING_EXPONENTS = range(8, -41, -1)
KINDS = ("logits", "logprobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number as it was printed.

    Attributes:
        label: The token it belongs to, or its place.
        text: The number's digits as found.
    """

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well one format explains the values.

    Attributes:
        dtype: The format.
        exact: Values that are exactly numbers of the format.
        fitting: Values whose print such a number explains (exact ones included).
        chance_log10: Logarithm of the chance that arbitrary numbers, printed so, would all fit. 0: no power at all.
    """

    dtype: str
    exact: int
    fitting: int
    chance_log10: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The step from one value down to the next.

    Attributes:
        label, next_label: The two tokens.
        value: The upper value.
        gap: Upper minus lower; 0.0 is an exact tie (as far as the print shows).
        ulp: The gap in ULP at the larger magnitude (logits) or in steps of the common spacing (logprobs); None where
            neither is known.
    """

    label: str
    next_label: str
    value: float
    gap: float
    ulp: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """What one step's logits or logprobs say about their dtype.

    Attributes:
        kind: `logits` or `logprobs`.
        count: How many values.
        fits: Every format, narrow ones first.
        dtypes: Formats to believe: all values fit and chance does not explain it. Wider formats that merely contain
            one of these are left out. Empty: cannot tell.
        spacing: The largest power of two that divides all differences; None where chance explains it.
        spacing_chance_log10: As in `Fit`, corrected for the number of powers tried; None without differences.
        implied: For logprobs, what the spacing means: (dtype, low, high) reads "logits of dtype between low and high".
        gaps: From the largest value down.
        notes: What to keep in mind, one sentence each.
    """

    kind: str
    count: int
    fits: tuple[Fit, ...]
    dtypes: tuple[str, ...]
    spacing: float | None
    spacing_chance_log10: float | None
    implied: tuple[tuple[str, float, float], ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


def analyse(readings: Sequence[Reading], kind: str | None = None, dtype: str | None = None) -> Lattice:
    """Tell the lattice of one step's values.

    Args:
        readings: The values of one step, in any order. Infinite values (masked tokens) are left out.
        kind: `logits` or `logprobs`; None: logprobs where no value is positive and the probabilities sum to at most 1.
        dtype: The logits' dtype where it is known; None finds it.

    Raises:
        TracediffError: Fewer than two finite numbers, a text that is no number, an unknown kind or dtype.
    """
    _check_choice("kind", kind, KINDS)
    dtype = None if dtype is None else dtype_named(dtype)
    finite = [reading for reading in readings if math.isfinite(_number(reading.text))]
    if len(finite) < 2:
        raise TracediffError("fewer than two finite values", "give at least the two largest logits or logprobs")
    finite.sort(key=lambda reading: -_number(reading.text))
    values = np.array([_number(reading.text) for reading in finite])
    errors = print_errors([reading.text for reading in finite])
    notes = []
    if kind is None:
        kind = "logprobs" if _could_be_logprobs(values) else "logits"
        notes.append(f"read as {kind}: " + _WHY_KIND[kind])
    texts = [reading.text for reading in finite]
    fits = tuple(_fit(values, texts, errors, format_) for format_ in FORMATS.values())
    believed = _believed(fits, values)
    multiples, spacing, chance = _common_spacing(values, errors, kind)
    unit_dtype = dtype or (believed[0] if len(believed) == 1 else None)
    if kind == "logits" and unit_dtype is not None:
        on_lattice = FORMATS[unit_dtype].nearest(values)
        steps = (on_lattice[:-1] - on_lattice[1:]) / FORMATS[unit_dtype].spacing(
            np.maximum(abs(values[:-1]), abs(values[1:]))
        )
    else:
        steps = np.diff(multiples) if spacing is not None else np.full(len(values) - 1, np.nan)
    if spacing is None and chance is not None and (kind == "logprobs" or not believed):
        notes.append("the differences lie on no power of two that chance would not explain")
    elif spacing is not None and len(finite) < 5:
        notes.append("few values: the dtype's own spacing may be a fraction of the common spacing")
    if kind == "logits" and unit_dtype is None and spacing is not None:
        notes.append("the dtype is not certain, so gaps are in the common spacing; name it with --dtype")
    if len(set(values.tolist())) < len(values):
        notes.append("exact ties: greedy decoding takes the lowest token id there (torch.argmax)")
    return Lattice(
        kind=kind,
        count=len(finite),
        fits=fits,
        dtypes=believed,
        spacing=spacing,
        spacing_chance_log10=chance,
        implied=_implied(spacing, dtype) if kind == "logprobs" and spacing is not None else (),
        gaps=_gaps(finite, values, steps),
        notes=tuple(notes),
    )


_WHY_KIND = {
    "logprobs": "no value is positive and the probabilities sum to at most 1",
    "logits": "the values are no log-probabilities",
}


def print_errors(texts: Sequence[str]) -> Floats:
    """Return how far each printed number can be from the number that was printed.

    Numbers of one group are printed alike: with the same decimals, or with the same significant digits, trailing zeros
    perhaps left out. So the longest print of the group says how precise the short ones are.
    """
    digits = [Decimal(text).as_tuple() for text in texts]
    exponents = [int(number.exponent) for number in digits]
    significant = (
        max(len(number.digits) for number in digits if any(number.digits))
        if any(any(number.digits) for number in digits)
        else 1
    )
    finest = min(exponents)
    errors = []
    for number, own in zip(digits, exponents, strict=True):
        leading = own + len(number.digits) - 1
        by_significant_digits = leading - significant + 1 if any(number.digits) else finest
        errors.append(0.5 * 10.0 ** min(own, max(finest, by_significant_digits)))
    return np.array(errors)


def _check_choice(what: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise TracediffError(f"unknown {what} {value}", f"choose one of {', '.join(choices)}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TracediffError(f"{text[:40]!r} is no number") from None


def _could_be_logprobs(values: Floats) -> bool:
    # 0.01: prints of two decimals may round each of ten probabilities up.
    return bool(values.max() <= 0) and float(np.exp(values).sum()) <= 1.01


def _fit(values: Floats, texts: Sequence[str], errors: Floats, format_: FloatFormat) -> Fit:
    distance = np.abs(values - format_.nearest(values))
    fitting, share = distance <= errors, np.minimum(1.0, 2 * errors / format_.spacing(values))
    if not fitting.all() and format_.name in _SHORTEST_PRINTS:
        shortest = np.array([_is_shortest_print(text, _SHORTEST_PRINTS[format_.name]) for text in texts])
        if shortest.all():
            units = np.array([10.0 ** int(Decimal(text).as_tuple().exponent) for text in texts])
            fitting, share = shortest, np.minimum(1.0, units / format_.spacing(values))
    # The same value twice is one piece of evidence, and zero lies on every lattice.
    distinct = np.unique(values, return_index=True)[1]
    distinct = distinct[values[distinct] != 0]
    return Fit(
        dtype=format_.name,
        exact=int((distance == 0).sum()),
        fitting=int(fitting.sum()),
        chance_log10=_product_log10(share[distinct]),
    )


# The formats whose shortest decimal print numpy knows.
_SHORTEST_PRINTS: dict[str, Any] = {"float16": np.float16, "float32": np.float32}


def _is_shortest_print(text: str, number_type: Any) -> bool:
    with np.errstate(over="ignore"):
        return Decimal(str(number_type(float(text)))) == Decimal(text)


def _product_log10(shares: Floats) -> float:
    return float(np.log10(np.maximum(shares, 1e-300)).sum())


def _believed(fits: Sequence[Fit], values: Floats) -> tuple[str, ...]:
    holding = [fit.dtype for fit in fits if fit.fitting == len(values) and fit.chance_log10 <= _LARGEST_CHANCE_LOG10]
    narrow = tuple(dtype for dtype in holding if dtype in {"bfloat16", "float16"})
    # A float16 number is a bfloat16 number once in eight times.
    if len(narrow) == 2 and len(set(values.tolist()) - {0.0}) * math.log10(1 / 8) <= _LARGEST_CHANCE_LOG10:
        return ("bfloat16",)
    return narrow or tuple(holding[:1])


def _common_spacing(values: Floats, errors: Floats, kind: str) -> tuple[Floats, float | None, float | None]:
    """Find the largest power of two that divides all differences to the largest value.

    Returns:
        The differences in that spacing, the spacing (None where chance explains it), and the log10 of its chance (None
        without a difference).
    """
    tolerance = errors + (FORMATS["float32"].spacing(values) if kind == "logprobs" else 0.0)
    differences = values[0] - values
    allowed = tolerance[0] + tolerance
    distinct = np.unique(differences, return_index=True)[1]
    distinct = distinct[differences[distinct] > 0]
    if not len(distinct):
        return differences, None, None
    for tried, exponent in enumerate(_SPACING_EXPONENTS, start=1):
        spacing = math.ldexp(1.0, exponent)
        multiples = np.rint(differences / spacing)
        off = np.abs(differences - multiples * spacing)[distinct]
        if (off <= allowed[distinct]).all() and (multiples[distinct] > 0).all():
            chance = _product_log10(np.minimum(1.0, 2 * allowed[distinct] / spacing)) + math.log10(tried)
            return multiples, (spacing if chance <= _LARGEST_CHANCE_LOG10 else None), min(0.0, chance)
    return differences, None, 0.0


def _implied(spacing: float, dtype: str | None) -> tuple[tuple[str, float, float], ...]:
    names = (dtype,) if dtype else ("bfloat16", "float16", "float32")
    ranges = ((name, math.ldexp(spacing, FORMATS[name].fraction_bits)) for name in names)
    return tuple((name, low, 2 * low) for name, low in ranges if low <= FORMATS[name].largest)


def _gaps(readings: Sequence[Reading], values: Floats, steps: Floats) -> tuple[Gap, ...]:
    return tuple(
        Gap(
            label=readings[place].label,
            next_label=readings[place + 1].label,
            value=float(values[place]),
            gap=float(values[place] - values[place + 1]),
            ulp=None if math.isnan(steps[place]) else float(steps[place]),
        )
        for place in range(len(steps))
    )
