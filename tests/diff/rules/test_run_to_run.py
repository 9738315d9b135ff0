"""Kernels that add in the order in which blocks finish promise nothing, under equal names and launches either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.diff.rules.make import kernel
from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules import decide
from tracediff.diff.rules.run_to_run import adds_as_blocks_finish
from tracediff.kernels import parse

SCATTER = (
    "void at::native::_scatter_gather_elementwise_kernel<128, 8, at::native::_cuda_scatter_gather_internal_kernel<true,"
    " float>::operator()<at::native::{}>(at::TensorIterator&)::lambda>(int)"
)
MEASURED = Path(__file__).parents[3] / "profiles" / "tokens" / "determinism.json"


def launched(name: str, **fields: object) -> Kernel:
    return replace(kernel(), parsed=parse(name), **fields)


@pytest.mark.parametrize(
    "name",
    [
        "void VecQuant4MatMulKernel<c10::Half>(c10::Half const*, int const*, c10::Half*)",
        "VecQuant3MatMulKernel(float const*, int const*, float*)",
        "void vllm::gptq::gemm_half_q_half_gptq_4bit_kernel<true, 4>(__half const*, unsigned int const*)",
        "void gemm_half_q_half_kernel<true, 1, true, false, true>(__half const*, unsigned int const*)",
        "void q4_matmul_kernel<true, false>(__half const*, unsigned int const*, __half*)",
        "void moe_wna16_gemm_kernel<__nv_bfloat16, 4, 2>(__nv_bfloat16 const*, __nv_bfloat16*)",
        SCATTER.format("ReduceAdd"),
        "void at::native::indexFuncLargeIndex<c10::Half, long, unsigned, 2, 2, -2, true, at::native::ReduceAdd>(int)",
        "void at::native::indexFuncSmallIndex<float, long, unsigned int, 1, 1, -2, at::native::ReduceMultiply>(int)",
        "void at::cuda::kernelHistogram1D<double, long, long, 1, 2, -1, (at::cuda::CUDAHistogramMemoryType)0>(int)",
        "void at_cuda_detail::cub::detail::scan::DeviceScanKernel<policy<float>, c10::Half const*, c10::Half*>(int)",
        "_int4_matmul_atomic_add_kernel",
        "_scatter_add_rows_kernel",
        "void indexAddRows<float>(float*)",
    ],
)
def test_sums_of_blocks_that_finish_in_any_order_promise_nothing(name):
    same = launched(name)
    verdict, reason = decide(same, same)
    assert verdict is Verdict.UNKNOWN
    assert reason == "a sum in whatever order blocks finish (may vary from run to run)"


@pytest.mark.parametrize(
    "name",
    [
        SCATTER.format("TensorAssign"),
        "void at::native::indexFuncLargeIndex<float, long, unsigned, 2, 2, -2, true, at::native::ReduceMaximum>(int)",
        "void at::cuda::kernelHistogram1D<long, long, long, 1, 2, -1, (at::cuda::CUDAHistogramMemoryType)0>(int)",
        "void at_cuda_detail::cub::detail::scan::DeviceScanKernel<policy<int>, int const*, int*>(int)",
        "void at::native::vectorized_gather_kernel<16, long>(char*, char*)",
    ],
)
def test_what_rounds_nothing_is_the_same_in_any_order(name):
    same = launched(name)
    assert decide(same, same) == (Verdict.SAME_KERNELS, "same kernel, same launch")


def test_every_operation_that_varied_when_it_was_measured_is_told_by_one_of_its_kernels():
    rows = json.loads(MEASURED.read_text())["rows"]
    varied = {row["operation"]: row["kernels"] for row in rows if row["different"]}
    assert varied.keys() >= {"scatter_add", "index_add", "cumsum", "bincount, weighted"}
    for operation, names in varied.items():
        assert any(adds_as_blocks_finish(launched(name)) for name in names), operation


def test_no_operation_that_never_varied_is_doubted_but_for_what_threads_of_one_block_share():
    rows = json.loads(MEASURED.read_text())["rows"]
    varied = {row["operation"] for row in rows if row["different"]}
    doubted = {
        row["operation"]
        for row in rows
        if row["operation"] not in varied and any(adds_as_blocks_finish(launched(name)) for name in row["kernels"])
    }
    assert doubted == set()


@pytest.mark.parametrize(
    "name",
    [
        "void flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<Flash_bwd_kernel_traits<64, 128, 128, 8, 4, 4, 4, 0, "
        "0, cutlass::half_t>, false, true, false, false, true, true>(Flash_bwd_params)",
        "fmha_cutlassB_f16_aligned_64x64_k64_sm80(Params)",
        "cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_7_64x128x64_4x1x1_kernel0_0",
    ],
)
def test_attention_s_backward_pass_promises_nothing(name):
    same = launched(name)
    assert decide(same, same) == (Verdict.UNKNOWN, "backward attention, whose dQ may vary from run to run")
