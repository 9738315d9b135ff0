"""C++ spellings of element types, however a library writes them."""

import pytest

from tracediff.kernels.cpp_types import CPP_TYPES, cpp_type, integer, integers

SPELLINGS = {
    "f16": "half __half half_t cutlass::half_t c10::Half at::Half __half2 nv_half",
    "bf16": "__nv_bfloat16 nv_bfloat16 bfloat16_t cutlass::bfloat16_t c10::BFloat16 at::BFloat16 __nv_bfloat162",
    "f32": "float",
    "f64": "double",
    "tf32": "tfloat32_t cutlass::tfloat32_t",
    "e4m3": "__nv_fp8_e4m3 c10::Float8_e4m3fn cutlass::float_e4m3_t float_e4m3_t",
    "e5m2": "__nv_fp8_e5m2 c10::Float8_e5m2 cutlass::float_e5m2_t float_e5m2_t",
    "e2m1": "cutlass::float_e2m1_t",
    "e3m2": "cutlass::float_e3m2_t",
    "e2m3": "cutlass::float_e2m3_t",
    "ue8m0": "cutlass::float_ue8m0_t",
    "ue4m3": "cutlass::float_ue4m3_t",
    "s32": "int int32_t",
    "s64": "long int64_t",
    "s16": "short",
    "s8": "int8_t char",
    "u8": "uint8_t",
    "cf32": "cuComplex float2 c10::complex<float>",
    "cf64": "cuDoubleComplex double2 c10::complex<double>",
    "bool": "bool",
    "void": "void",
}
PAIRS = [(short, text) for short, texts in SPELLINGS.items() for text in texts.split()] + [
    ("s64", "long long"),
    ("s8", "signed char"),
    ("u8", "unsigned char"),
]


@pytest.mark.parametrize(("short", "text"), PAIRS)
def test_a_spelling_has_its_short_word_const_or_not(short, text):
    assert cpp_type(text) == cpp_type(f"const {text}") == cpp_type(f"{text} const") == short


def test_every_spelling_is_tested_and_others_are_no_element_types():
    assert {text for _, text in PAIRS} == set(CPP_TYPES)
    assert [cpp_type(text) for text in ("at::Tensor", "", "const", "floats", "const at::Tensor")] == [None] * 5


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("128", (128,)),
        ("128x64", (128, 64)),
        ("16x8x16", (16, 8, 16)),
        ("999999999", (999999999,)),
        ("1000000000", None),
        ("64x1000000000", None),
        ("", None),
        ("x64", None),
        ("64x", None),
        ("64xa", None),
        ("-1", None),
        ("²", None),
    ],
)
def test_pairs_of_numbers_are_read_whole_or_not_at_all(text, numbers):
    assert integers(text) == numbers
    assert integer(text) == (numbers[0] if numbers is not None and len(numbers) == 1 else None)
