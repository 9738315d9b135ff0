"""Floating point formats: spacing, rounding, and the names that people type."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracediff.dtypes import FORMATS, TF32, dtype_named
from tracediff.errors import TracediffError

NUMPY_TYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64}


@pytest.mark.parametrize("name", NUMPY_TYPES)
@settings(deadline=None)
@given(value=st.floats(-60000, 60000, allow_subnormal=True))
def test_spacing_is_the_step_to_the_next_number_of_the_format(name, value):
    number = NUMPY_TYPES[name](abs(value))
    with np.errstate(over="ignore"):
        step = float(np.nextafter(number, NUMPY_TYPES[name](np.inf), dtype=NUMPY_TYPES[name])) - float(number)
    assume(math.isfinite(step))
    assert FORMATS[name].spacing(float(number)) == step


@pytest.mark.parametrize("name", ["float16", "float32"])
@settings(deadline=None)
@given(value=st.floats(-1e6, 1e6))
def test_nearest_rounds_as_numpy_does(name, value):
    with np.errstate(over="ignore"):
        assert FORMATS[name].nearest(value) == float(NUMPY_TYPES[name](value))


@settings(deadline=None)
@given(value=st.floats(-(2.0**100), 2.0**100, width=32))
def test_a_bfloat16_number_is_a_float32_whose_lower_half_is_zero(value):
    rounded = np.float32(FORMATS["bfloat16"].nearest(value))
    assert rounded.view(np.uint32) & 0xFFFF == 0
    assert abs(float(rounded) - value) <= FORMATS["bfloat16"].spacing(value) / 2


def test_one_ulp_at_the_published_magnitude_is_one_eighth_in_bfloat16():
    assert FORMATS["bfloat16"].spacing(24.0) == 0.125
    assert FORMATS["float16"].spacing(24.0) == 0.125 / 8


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_spacing_of_every_finite_number_is_finite_and_positive(value):
    for format_ in (*FORMATS.values(), TF32):
        assert 0 < format_.spacing(value) < math.inf


def test_tf32_is_as_coarse_as_float16_and_as_wide_as_float32():
    assert TF32.spacing(20.0) == FORMATS["float16"].spacing(20.0) == 2.0**-6
    assert TF32.largest > 3e38


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("bf16", "bfloat16"),
        ("BF16", "bfloat16"),
        ("bfloat16", "bfloat16"),
        ("torch.bfloat16", "bfloat16"),
        ("fp16", "float16"),
        ("half", "float16"),
        ("f16", "float16"),
        ("fp32", "float32"),
        ("float", "float32"),
        ("fp64", "float64"),
        ("double", "float64"),
    ],
)
def test_a_dtype_goes_by_the_names_that_people_type(typed, name):
    assert dtype_named(typed) == name


@pytest.mark.parametrize(("typed", "choices"), [("int8", ("float16",)), ("fp64", ("float16", "float32")), ("", ())])
def test_another_dtype_is_refused_with_the_choices(typed, choices):
    with pytest.raises(TracediffError, match=f"unknown dtype {typed}.*{', '.join(choices)}"):
        dtype_named(typed, choices)
