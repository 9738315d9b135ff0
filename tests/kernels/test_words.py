"""Words that several grammars share, each where a name prints it."""

import pytest

from tracediff.kernels import parse
from tracediff.kernels.mma import mma_shape

# CUTLASS' DataTypeNames (python/cutlass_library/library.py).
ELEMENTS = """
    void b1 u2 u4 u8 u16 u32 u64 s2 s4 s8 s16 s32 s64 f8 f6 f4 e4m3 e5m2 e2m3 e3m2 e2m1 ue8m0 ue4m3 f16 bf16 f32 tf32
    f64 cf16 cbf16 cf32 ctf32 cf64 cs8 cs16 cs32 cu8 cu16 cu32
"""

CUDNN_OPTIONS = """
    small medium large interior xregs stridedB strided winograd exp mufu interleaved nhwc nchw nhwc2nchw mobile tile148t
    tile148n fprop dgrad wgrad 3dconv gemm singleBuffer delta bias stages
"""

# The instructions' shapes, m×n×k, of CUTLASS' generator (python/cutlass_library/generator.py).
INSTRUCTIONS = """
    8x8x4 8x8x16 8x8x32 8x8x128 16x8x4 16x8x8 16x8x16 16x8x32 16x8x64 16x8x128 16x8x256 16x16x16 16x16x8 32x8x16 8x32x16
"""


@pytest.mark.parametrize("element", ELEMENTS.split())
def test_cutlass_prints_every_element_type_in_its_place(element):
    second = parse(f"cutlass_80_tensorop_{element}_s16816gemm_{element}_128x128_32x3_tn_align8").types
    assert (second.output, second.a, second.b, second.accumulate) == (element, element, element, "f32")
    third = parse(
        f"cutlass3x_sm90_tensorop_s64x128x16gemm_{element}_{element}_f32_{element}_{element}"
        "_128x128x64_1x1x1_0_tnn_align8_warpspecialized"
    ).types
    assert (third.a, third.b, third.accumulate, third.c, third.output) == (element, element, "f32", element, element)


@pytest.mark.parametrize("shape", INSTRUCTIONS.split())
def test_digits_run_together_are_one_instructions_shape(shape):
    digits, sizes = shape.replace("x", ""), tuple(map(int, shape.split("x")))
    assert mma_shape(digits) == sizes
    assert mma_shape(shape) == sizes
    assert parse(f"cutlass_80_tensorop_s{digits}gemm_128x128_32x3_tn_align8").mma == sizes


@pytest.mark.parametrize(
    "text", ["", "7", "88", "168161", "16x8", "16x8x", "16x8xk", "16x8x16x2", "16x8x12345", "²x8x8"]
)
def test_anything_else_is_no_instructions_shape(text):
    assert mma_shape(text) is None


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt", "nc", "cn", "tc", "ct", "cc"])
def test_older_cublas_kernels_print_their_layout_last(layout):
    kernel = parse(f"volta_cgemm_64x32_{layout}")
    assert (kernel.family, kernel.layout, kernel.unparsed) == ("cublas_legacy", layout, None)


@pytest.mark.parametrize("a", "TN")
@pytest.mark.parametrize("b", "TN")
@pytest.mark.parametrize("d", "TN")
def test_nvjet_prints_three_layouts_or_four(a, b, d):
    kernel = parse(f"nvjet_sm90_hsh_128x128_64x6_2x1_v_bz_{a}{b}{d}")
    assert (kernel.layout, kernel.unparsed, kernel.split_k_form) == (a + b + d, None, "none")


@pytest.mark.parametrize("option", CUDNN_OPTIONS.split())
def test_options_of_cudnns_convolutions_are_kept_as_printed(option):
    kernel = parse(f"volta_scudnn_128x64_{option}_nn_v1")
    assert (kernel.detail("options"), kernel.unparsed, kernel.layout) == (option, None, "nn")


@pytest.mark.parametrize(
    ("pixels", "filters"), [("nwc", "kcs"), ("nhwc", "kcsr"), ("ndhwc", "kcsrt"), ("nhwc", "nhwc")]
)
def test_convolutions_of_cutlass_3_print_each_operands_layout_behind_its_type(pixels, filters):
    kernel = parse(
        f"cutlass3x_sm90_tensorop_s64x64x16fprop_f16{pixels}_bf16{filters}_f32_f16{pixels}_e4m3{pixels}"
        "_64x64x64_1x1x1_0_align8_warpspecialized_epi_tma"
    )
    assert (kernel.types.a, kernel.types.b, kernel.types.c, kernel.types.output) == ("f16", "bf16", "f16", "e4m3")
    assert kernel.layout == f"{pixels}_{filters}_{pixels}_{pixels}"
