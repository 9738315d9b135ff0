"""What each name reads as, whole: what `test_name_corpus.py` has no checked value for must not change unnoticed either.

tests/gold/kernels/ holds a file per family: names, each with its line for people and every field it states, then what
their parts mean.
"""

import json
from pathlib import Path

import pytest

from tests.golden import assert_golden
from tracediff.kernels import describe, explain, parse

CORPUS = Path(__file__).parent / "kernel_names.jsonl"
LONGEST = 100
TOLD = 4

# Forms that the corpus lacks.
NAMES = (
    "cutlass3x_sm100_bstensorop_s128x128x32gemm_block_scaled_ue8m0xe4m3_ue4m3xe2m1_f32_f16_ue8m0xe2m1_128x256x128_0x0x1_0_tnt_align16_1sm_o_vs32",
    "cutlass3x_sm120_bstensorop_s16x8x64gemm_block_scaled_ue4m3xe2m1_ue8m0xe2m1_f32_void_bf16_128x128x128_1x1x1_0_tnt_align32_warpspecialized_cooperative_epi_tma",
    "volta_gcgemm_64x32_nn",
    "trt_turing_h1688gemm_128x128_ldg8_relu_stages_32x1_tn_v1",
    "ampere_fp16_s16816gemm_fp16_128x64_sliced1x2_ldg8_f2f_stages_64x5_tn",
    "volta_fp16_s884cudnn_fp16_256x128_ldg8_splitK_relu_f2f_exp_small_nhwc2nchw_tn_v1",
    "fmhaSm100fKernel_QkvBfloat16OBfloat16H128PagedKvCausalP64MultiCtasKvVarSeqQ8Kv128StaticSwapsAbForGen",
    "fmhaSm100aKernel_QE4m3KvE2m1OFp16HQk192HV128SeparateQkvDenseVarSeqQ128Kv128PersistentContext",
    "bmm_E4m3_E2m1E2m1_Fp32_t128x8x512u2_s6_et128x8_m128x8x32_cga1x1x1_16dp256b_rM_TN_transOut_schedS_bN_rgTma_clmp_swiGlu_sm100f",
    "gemm_Bfloat16_E4m3_Fp32_t128x64x256_s4_et64x64_m64x64x32_cga1x1x1_splitK4_BN_sm100a",
)


def readings():
    """Names with what they read as, by family."""
    names = [json.loads(line)["name"] for line in CORPUS.read_text("utf-8").splitlines()]
    by_family = {}
    for name in (*names, *NAMES):
        by_family.setdefault(parse(name).family, []).append(name)
    return by_family


def told(name):
    kernel = parse(name)
    stated = {field: value for field, value in kernel.to_dict().items() if value not in (None, {}, [])}
    stated.pop("name")
    if stated.get("types"):
        stated["types"] = {part: value for part, value in stated["types"].items() if value is not None}
    return "\n".join((name[:LONGEST], f"  {describe(kernel)}", f"  {json.dumps(stated, ensure_ascii=False)}", ""))


def meant(names):
    """Every meaning that a token of these names has, with how sure it is and the first tokens that have it."""
    found = {}
    for name in names:
        for token in explain(name):
            found.setdefault(f"{token.meaning} ({token.certainty})", {})[token.text[:LONGEST]] = True
    return "\n".join(f"{meaning}: {'  '.join(list(tokens)[:TOLD])}" for meaning, tokens in found.items()) + "\n"


READINGS = readings()


@pytest.mark.parametrize("family", sorted(READINGS))
def test_a_name_reads_as_it_did(family):
    names = READINGS[family]
    assert_golden("\n".join([*map(told, names), meant(names)]), f"kernels/{family}.txt")
