"""Floating point formats by name: their spacing, rounding to them, and the short names that people type."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracediff.errors import TracediffError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatFormat:
    """A binary floating point format with subnormals.

    Attributes:
        name: As torch and numpy name it; `tf32` for what Tensor Cores round float32 operands to.
        fraction_bits: Stored bits of the significand.
        smallest_exponent: Exponent of the smallest normal number.
        largest_exponent: Exponent of the largest finite number.
    """

    name: str
    fraction_bits: int
    smallest_exponent: int
    largest_exponent: int

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return math.ldexp(2.0 - 2.0**-self.fraction_bits, self.largest_exponent)

    def spacing(self, values: Any) -> Floats:
        """Return one ULP at each value's magnitude: the step from |value| to the next larger number of the format.

        The spacing is finite for every finite value; beyond the largest number it is that of the largest exponent.
        """
        magnitudes = np.abs(np.asarray(values, dtype=np.float64))
        exponents = np.clip(np.frexp(magnitudes)[1] - 1, self.smallest_exponent, self.largest_exponent)
        exponents = np.where(magnitudes == 0, self.smallest_exponent, exponents)
        return np.asarray(np.ldexp(1.0, exponents - self.fraction_bits), dtype=np.float64)

    def nearest(self, values: Any) -> Floats:
        """Return each value rounded to the format, ties to even; ±inf beyond the largest number."""
        numbers = np.asarray(values, dtype=np.float64)
        if self.fraction_bits >= FLOAT64.fraction_bits:
            return numbers
        steps = self.spacing(numbers)
        # Dividing by the spacing of a subnormal may overflow: such a number is far beyond rounding.
        with np.errstate(over="ignore"):
            rounded = np.rint(numbers / steps) * steps
        return np.where(np.abs(rounded) > self.largest, np.copysign(np.inf, numbers), rounded)


FLOAT64 = FloatFormat(name="float64", fraction_bits=52, smallest_exponent=-1022, largest_exponent=1023)
#: The dtypes that logits are stored in, narrow ones first.
FORMATS = {
    format_.name: format_
    for format_ in (
        FloatFormat(name="bfloat16", fraction_bits=7, smallest_exponent=-126, largest_exponent=127),
        FloatFormat(name="float16", fraction_bits=10, smallest_exponent=-14, largest_exponent=15),
        FloatFormat(name="float32", fraction_bits=23, smallest_exponent=-126, largest_exponent=127),
        FLOAT64,
    )
}
#: float32 with 10 fraction bits: products round to it, no tensor is stored in it.
TF32 = FloatFormat(name="tf32", fraction_bits=10, smallest_exponent=-126, largest_exponent=127)

_SHORT_NAMES = {
    **dict.fromkeys(("bf16", "bfloat"), "bfloat16"),
    **dict.fromkeys(("fp16", "f16", "half"), "float16"),
    **dict.fromkeys(("fp32", "f32", "float", "single"), "float32"),
    **dict.fromkeys(("fp64", "f64", "double"), "float64"),
}


def dtype_named(text: str, choices: tuple[str, ...] = tuple(FORMATS)) -> str:
    """Return the dtype that is meant: `bf16`, `half`, `torch.float16`, `BF16`, … as well as the full name.

    Args:
        text: What the user typed.
        choices: The dtypes that are accepted.

    Raises:
        TracediffError: It is none of `choices`.
    """
    plain = text.strip().lower().removeprefix("torch.")
    name = _SHORT_NAMES.get(plain, plain)
    if name not in choices:
        short = [each for each in ("bf16", "fp16", "fp32") if _SHORT_NAMES[each] in choices]
        raise TracediffError(f"unknown dtype {text}", f"choose one of {', '.join(choices)} (or {', '.join(short)})")
    return name
