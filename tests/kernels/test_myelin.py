"""TensorRT's Myelin names its kernels by the operations it fused: what sums or multiplies decides the role."""

import pytest

from tracediff.kernels import parse

PRODUCTS = "Fc Gemm Matm Bmm Conv"
REDUCTIONS = "Mean Sum Max Min Prod Redu Norm Sofm Topk Var Arg"
COPIES = "Move Resh Tran Conc Slic Gath Repl Copy Pad Shuf"
ELEMENTWISE = (
    "Mul Add Sub Div Sqrt Rsqrt Exp Log Pow Neg Abs Silu Gelu Relu Sigm "
    "Tanh Erf Sin Cos Cast Sele Clip Equ Les Gre And Or Not"
)


def role(operations):
    return parse(f"__myl_{operations}_myl3_12").role


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        *((each, "gemm") for each in PRODUCTS.split()),
        *((each, "reduction") for each in REDUCTIONS.split()),
        *((each, "copy") for each in COPIES.split()),
        *((each, "elementwise") for each in ELEMENTWISE.split()),
        ("Unkn", "other"),
        ("x", "other"),
    ],
)
def test_each_operation_has_its_role(operation, expected):
    assert role(operation) == expected


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ("MoveMulFcAdd", "gemm"),
        ("FcMeanMul", "gemm"),
        ("MulMeanMove", "reduction"),
        ("MoveMul", "elementwise"),
        ("MoveTran", "copy"),
        ("MulUnkn", "other"),
    ],
)
def test_of_fused_operations_the_gravest_decides(operations, expected):
    assert role(operations) == expected


def test_details_say_which_kernel_of_which_graph_it_is():
    kernel = parse("__myl_FcMulAdd_myl3_12")
    assert (kernel.family, kernel.details) == ("myelin", (("ops", "FcMulAdd"), ("graph", 3), ("index", 12)))
    assert parse("__myl_FcMulAdd_0x1f").details == (("ops", "FcMulAdd"), ("hash", "0x1f"))
    attention = parse("_gemm_mha_v2_0x2a")
    assert (attention.role, attention.kind, attention.details) == ("attention", "mha", (("hash", "0x2a"),))
    assert parse("_gemm_mha_v2").details == ()
