"""Words that several families share: element types, C++ type names, integer pairs such as `128x64`."""

import re

# Element types as cuBLAS spells them with one letter (CUTLASS `dtype_to_cublas`, and cuBLAS' own s/d/h/i/c/z prefixes).
ACCUMULATOR_LETTERS = {"h": "f16", "s": "f32", "d": "f64", "i": "s32", "c": "cf32", "z": "cf64"}

# C++ spellings of element types, as they appear in template arguments.
CPP_TYPES = {
    "float": "f32",
    "double": "f64",
    "__half": "f16",
    "half": "f16",
    "half_t": "f16",
    "cutlass::half_t": "f16",
    "c10::Half": "f16",
    "at::Half": "f16",
    "__half2": "f16",
    "nv_half": "f16",
    "__nv_bfloat16": "bf16",
    "nv_bfloat16": "bf16",
    "bfloat16_t": "bf16",
    "cutlass::bfloat16_t": "bf16",
    "c10::BFloat16": "bf16",
    "at::BFloat16": "bf16",
    "__nv_bfloat162": "bf16",
    "__nv_fp8_e4m3": "e4m3",
    "__nv_fp8_e5m2": "e5m2",
    "c10::Float8_e4m3fn": "e4m3",
    "c10::Float8_e5m2": "e5m2",
    "cutlass::float_e4m3_t": "e4m3",
    "cutlass::float_e5m2_t": "e5m2",
    "float_e4m3_t": "e4m3",
    "float_e5m2_t": "e5m2",
    "cutlass::float_e2m1_t": "e2m1",
    "cutlass::float_e3m2_t": "e3m2",
    "cutlass::float_e2m3_t": "e2m3",
    "cutlass::float_ue8m0_t": "ue8m0",
    "cutlass::float_ue4m3_t": "ue4m3",
    "cutlass::tfloat32_t": "tf32",
    "tfloat32_t": "tf32",
    "int": "s32",
    "int32_t": "s32",
    "long": "s64",
    "long long": "s64",
    "int64_t": "s64",
    "short": "s16",
    "signed char": "s8",
    "int8_t": "s8",
    "char": "s8",
    "unsigned char": "u8",
    "uint8_t": "u8",
    "bool": "bool",
    "cuComplex": "cf32",
    "float2": "cf32",
    "cuDoubleComplex": "cf64",
    "double2": "cf64",
    "c10::complex<float>": "cf32",
    "c10::complex<double>": "cf64",
    "void": "void",
}


def cpp_type(text: str) -> str | None:
    """Return the short word of a C++ element type, None for a type that is not an element type."""
    found = CPP_TYPES.get(text)
    if found is None and (text.startswith("const ") or text.endswith(" const")):
        found = CPP_TYPES.get(text.removeprefix("const ").removesuffix(" const"))
    return found


# At most nine digits: no field of a kernel name needs more, and Python's int() is quadratic and refuses above 4,300.
_INTEGERS = re.compile(r"[0-9]{1,9}(?:x[0-9]{1,9})*")
_MOST_DIGITS = 9


def integers(text: str) -> tuple[int, ...] | None:
    """Read `128x64` or `16x8x16`; None where any part is not a plain decimal number of at most nine digits."""
    return tuple(map(int, text.split("x"))) if _INTEGERS.fullmatch(text) else None


def integer(text: str) -> int | None:
    """Read a plain decimal number of at most nine digits."""
    return int(text) if text.isdigit() and text.isascii() and len(text) <= _MOST_DIGITS else None
