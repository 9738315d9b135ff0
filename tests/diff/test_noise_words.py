"""A run that does not repeat itself says who is to blame, and how often."""

import pytest

from tests.changed import replace
from tracediff.diff.noise import noise_in_words
from tracediff.measured import Control, RunEvidence, Unstable

CUDNN = "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1_cga1x1x1_kernel0_0"


REDUCTION = "void cudnn::fusion::lean_reduction_kernel<(bool)0, (bool)0, (bool)0>(void *, float *, float *)"


def unstable(module="model.layers.3.self_attn", kernels=(CUDNN, REDUCTION), batch=7):
    return Unstable(phase="decode[0]", module=module, batch=batch, outcomes=4, repeats=5, kernels=kernels)


QUIET = RunEvidence(batches=(1, 7), controls={"run_to_run": Control(equal=True, compared="runs")}, attention="sdpa")


def test_a_run_that_repeats_itself_says_nothing():
    assert noise_in_words(QUIET) is None
    assert noise_in_words(replace(QUIET, controls={})) is None


def test_the_attention_and_its_kernel_are_named():
    measured = replace(QUIET, unstable=(unstable(), unstable(batch=1)))
    assert noise_in_words(measured) == (
        "torch's default attention, cuDNN (self_attn gave up to 4 different outputs in 5 runs on equal inputs, "
        "in 2 places)"
    )


def test_an_attention_that_was_asked_for_is_named_as_the_option():
    assert "--attention cudnn, cuDNN (" in noise_in_words(replace(QUIET, attention="cudnn", unstable=(unstable(),)))


def test_other_modules_are_named_without_a_word_on_attention():
    words = noise_in_words(replace(QUIET, unstable=(unstable("model.layers.0.mlp.down_proj", kernels=()),)))
    assert words == "down_proj gave up to 4 different outputs in 5 runs on equal inputs, in 1 place"


def test_several_kinds_are_all_named():
    words = noise_in_words(replace(QUIET, unstable=(unstable(), unstable("model.layers.0.mlp.down_proj", kernels=()))))
    assert "self_attn, down_proj, cuDNN (modules gave" in words


def test_logits_that_vary_without_a_module_to_blame_are_told_with_their_place():
    control = Control(equal=False, compared="runs", first="batch 7, prefill")
    words = noise_in_words(replace(QUIET, controls={"run_to_run": control}))
    assert words == "no module was found to vary, whole runs do (first: batch 7, prefill)"


@pytest.mark.parametrize(
    ("kernel", "named"),
    [
        (CUDNN, "cuDNN"),
        ("void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128, 64, 128, 4>, false>(x)", "FlashAttention 2"),
        ("void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<x>>>(x)", "FlashAttention 3"),
        ("fmha_cutlassF_f16_aligned_64x64_rf_sm80", "memory-efficient attention"),
        ("nvjet_sm90_hsh_64x8_64x16_4x1_v_bz_TNT", "nvjet"),
    ],
)
def test_libraries_are_called_as_people_call_them(kernel, named):
    words = noise_in_words(replace(QUIET, unstable=(unstable("mlp", kernels=(kernel,)),)))
    assert words.startswith(f"{named} (mlp gave")


@pytest.mark.parametrize("kernel", [REDUCTION, "frobnicate", "void at::native::reduce_kernel<512, 1>(x)"])
def test_kernels_of_no_library_are_not_named(kernel):
    words = noise_in_words(replace(QUIET, unstable=(unstable("mlp", kernels=(kernel,)),)))
    assert words.startswith("mlp gave")


def test_the_module_that_varies_most_is_counted_and_its_batches_are_places():
    often, seldom = unstable("mlp", kernels=()), replace(unstable("mlp", kernels=(), batch=1), outcomes=2)
    words = noise_in_words(replace(QUIET, unstable=(seldom, often, often)))
    assert words == "mlp gave up to 4 different outputs in 5 runs on equal inputs, in 2 places"
