"""How well decimal prints fit the numbers that a format holds, and what spacing they have in common.

A number fits a format when it is no farther from a number of it than its print can be wrong, or when it is the shortest
print of the nearest one (what numpy and torch's `item` write). A coarse print fits anything, so each fit comes with the
chance that arbitrary numbers would fit as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from tracediff.dtypes import FloatFormat, Floats

# A fit that arbitrary numbers would reach more often than this proves nothing.
_LARGEST_CHANCE_LOG10 = -3.0
# Differences are tried against every power of two in this range (logits: coarser than 2^8 or finer than 2^-40 is no
# spacing that a 16- or 32-bit logit of a language model has).
_SPACING_EXPONENTS = range(8, -41, -1)


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
        errors.append(0.5 * 10.0 ** max(-400, min(own, max(finest, by_significant_digits), 300)))
    return np.array(errors)


def fit(values: Floats, texts: Sequence[str] | None, errors: Floats, format_: FloatFormat) -> Fit:
    """Compare values with a format; `texts` are their prints, None where the values were computed from others."""
    distance = np.abs(values - format_.nearest(values))
    fitting, share = distance <= errors, np.minimum(1.0, 2 * errors / format_.spacing(values))
    if texts is not None and not fitting.all() and format_.name in _SHORTEST_PRINTS:
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


def believed(fits: Sequence[Fit], values: Floats) -> tuple[str, ...]:
    """Return the dtypes, the likeliest first, that explain every value where arbitrary numbers would not fit."""
    holding = [
        each.dtype for each in fits if each.fitting == len(values) and each.chance_log10 <= _LARGEST_CHANCE_LOG10
    ]
    narrow = tuple(dtype for dtype in holding if dtype in {"bfloat16", "float16"})
    # A float16 number is a bfloat16 number once in eight times.
    if len(narrow) == 2 and len(set(values.tolist()) - {0.0}) * math.log10(1 / 8) <= _LARGEST_CHANCE_LOG10:
        return ("bfloat16",)
    return narrow or tuple(holding[:1])


def common_spacing(values: Floats, tolerance: Floats) -> tuple[float | None, float | None]:
    """Find the largest power of two that divides all differences to the largest value.

    Args:
        values: The largest first.
        tolerance: How far each value may be off.

    Returns:
        The spacing (None where chance explains it), and the log10 of its chance (None without a difference).
    """
    differences = values[0] - values
    allowed = tolerance[0] + tolerance
    distinct = np.unique(differences, return_index=True)[1]
    distinct = distinct[differences[distinct] > 0]
    if not len(distinct):
        return None, None
    for tried, exponent in enumerate(_SPACING_EXPONENTS, start=1):
        spacing = math.ldexp(1.0, exponent)
        multiples = np.rint(differences / spacing)
        off = np.abs(differences - multiples * spacing)[distinct]
        if (off <= allowed[distinct]).all() and (multiples[distinct] > 0).all():
            chance = _product_log10(np.minimum(1.0, 2 * allowed[distinct] / spacing)) + math.log10(tried)
            return (spacing if chance <= _LARGEST_CHANCE_LOG10 else None), min(0.0, chance)
    return None, 0.0
