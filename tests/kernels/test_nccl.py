"""NCCL's names: collective, algorithm, protocol, operation and element type."""

import pytest

from tracediff.kernels import parse

ARGUMENTS = "(ncclDevKernelArgsStorage<4096ul>)"


@pytest.mark.parametrize(
    "algorithm", ["RING", "TREE", "COLLNET_DIRECT", "COLLNET_CHAIN", "NVLS", "NVLS_TREE", "PAT", "COLLNET"]
)
@pytest.mark.parametrize("protocol", ["LL", "LL128", "SIMPLE"])
def test_the_algorithm_is_read_whole(algorithm, protocol):
    kernel = parse(f"ncclDevKernel_AllReduce_Sum_f32_{algorithm}_{protocol}{ARGUMENTS}")
    assert dict(kernel.details) == {"algorithm": algorithm, "protocol": protocol, "operation": "Sum"}
    assert (kernel.role, kernel.kind, kernel.unparsed) == ("reduction", "AllReduce", None)
    assert (kernel.types.a, kernel.types.output) == ("f32", "f32")


@pytest.mark.parametrize("operation", ["Sum", "Prod", "Max", "Min", "MinMax", "PreMulSum", "SumPostDiv", "Avg"])
def test_each_operation_is_read(operation):
    kernel = parse(f"ncclKernel_ReduceScatter_RING_LL_{operation}_half(ncclDevComm*, unsigned long, ncclWork*)")
    assert kernel.detail("operation") == operation
    assert (kernel.role, kernel.types.a) == ("reduction", "f16")


@pytest.mark.parametrize(
    ("text", "element"),
    [
        ("f16", "f16"),
        ("half", "f16"),
        ("bf16", "bf16"),
        ("f32", "f32"),
        ("float", "f32"),
        ("f64", "f64"),
        ("double", "f64"),
        ("u8", "u8"),
        ("uint8_t", "u8"),
        ("i8", "s8"),
        ("int8_t", "s8"),
        ("u32", "u32"),
        ("uint32_t", "u32"),
        ("i32", "s32"),
        ("int32_t", "s32"),
        ("u64", "u64"),
        ("uint64_t", "u64"),
        ("i64", "s64"),
        ("int64_t", "s64"),
        ("f8e4m3", "e4m3"),
        ("f8e5m2", "e5m2"),
    ],
)
def test_each_element_type_is_read(text, element):
    kernel = parse(f"ncclDevKernel_Reduce_Max_{text}_RING_LL{ARGUMENTS}")
    assert (kernel.types.a, kernel.unparsed) == (element, None)


@pytest.mark.parametrize("collective", ["AllGather", "Broadcast", "SendRecv", "AllToAll", "Gather", "Scatter"])
def test_what_only_moves_data_is_a_copy(collective):
    kernel = parse(f"ncclDevKernel_{collective}_RING_LL{ARGUMENTS}")
    assert (kernel.role, kernel.kind, kernel.types) == ("copy", collective, None)


def test_the_generic_kernel_does_not_say_what_it_does():
    kernel = parse(f"ncclDevKernel_Generic_4{ARGUMENTS}")
    assert (kernel.role, kernel.kind, kernel.details, kernel.unparsed) == ("other", "Generic", (), None)
    assert parse(f"ncclDevKernel_AllReduce_4_odd{ARGUMENTS}").unparsed == "4_odd"
