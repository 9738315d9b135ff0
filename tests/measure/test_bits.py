"""Bits and units in the last place."""

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402

from tracediff.measure.bits import Bits, compare, worst  # noqa: E402
from tracediff.model.logits_hashes import hash_of  # noqa: E402

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_next_number_is_one_ulp_away(dtype):
    one = torch.ones(4, dtype=dtype)
    other = one.clone()
    other[2] = 1 + torch.finfo(dtype).eps
    assert compare(one, other) == Bits(equal=False, share=0.25, max_ulp=1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_distance_counts_across_zero(dtype):
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    a, b = torch.tensor([smallest], dtype=dtype), torch.tensor([-smallest], dtype=dtype)
    assert compare(a, b).max_ulp == 2


def test_zeros_of_other_signs_differ_in_bits_and_not_in_value():
    assert compare(torch.tensor([0.0]), torch.tensor([-0.0])) == Bits(equal=False, share=1.0, max_ulp=0)


def test_the_same_nan_is_equal_and_a_nan_against_a_number_has_no_distance():
    nan = torch.tensor([float("nan"), 1.0])
    assert compare(nan, nan.clone()).equal
    assert compare(nan, torch.tensor([1.0, 1.0])) == Bits(equal=False, share=0.5, max_ulp=None)


def test_infinity_is_one_beyond_the_largest_number():
    largest = torch.tensor([torch.finfo(torch.float16).max], dtype=torch.float16)
    assert compare(largest, torch.tensor([float("inf")], dtype=torch.float16)).max_ulp == 1


def test_integers_and_booleans_have_no_ulp():
    assert compare(torch.tensor([1, 2]), torch.tensor([1, 3])) == Bits(equal=False, share=0.5, max_ulp=None)
    assert compare(torch.tensor([True]), torch.tensor([True])).equal


def test_other_shapes_or_types_cannot_be_compared():
    with pytest.raises(ValueError, match="cannot compare"):
        compare(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="cannot compare"):
        compare(torch.ones(2), torch.ones(2).half())


def test_the_worst_of_two_keeps_an_unknown_distance_unknown():
    assert worst(Bits(equal=False, share=0.5, max_ulp=None), Bits(equal=True)).max_ulp is None
    assert worst(None, Bits(equal=True)).equal


def test_a_hash_tells_zeros_of_other_signs_apart():
    assert hash_of(torch.tensor([0.0])) != hash_of(torch.tensor([-0.0]))
    assert hash_of(torch.ones(2, dtype=torch.bfloat16)) == hash_of(torch.ones(2, dtype=torch.bfloat16))
