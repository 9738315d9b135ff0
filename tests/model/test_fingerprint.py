"""Fingerprints differ where any bit does, and nowhere else."""

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tracediff.model import fingerprint as module  # noqa: E402
from tracediff.model.fingerprint import fingerprint  # noqa: E402

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8]


def of(*tensors):
    return int(fingerprint(tensors))


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_bits_give_equal_fingerprints_in_any_layout(dtype):
    values = torch.arange(60).to(dtype).reshape(6, 10)
    assert of(values) == of(values.clone()) == of(values.T.contiguous().T)


@settings(max_examples=60)
@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=20), st.data())
def test_any_other_bit_gives_another_fingerprint(numbers, data):
    values = torch.tensor(numbers, dtype=torch.int16)
    changed = values.clone()
    place, bit = data.draw(st.integers(0, len(numbers) - 1)), data.draw(st.integers(0, 14))
    changed[place] ^= 1 << bit
    assert of(values) != of(changed)


def test_order_length_and_tensors_count():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    assert of(a) != of(b)
    assert of(a, b) != of(b, a)
    assert of(torch.zeros(2)) != of(torch.zeros(3))
    assert of(torch.zeros(2), torch.zeros(1)) != of(torch.zeros(1), torch.zeros(2))
    assert of(torch.tensor([0.0])) != of(torch.tensor([-0.0]))


def test_large_tensors_are_taken_in_parts_that_all_count(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)
    values = torch.randn(50)
    assert of(values) == of(values.clone())
    for place in (0, 6, 7, 49):
        changed = values.clone()
        changed[place] += 1
        assert of(changed) != of(values)
    swapped = torch.cat([values[7:14], values[:7], values[14:]])
    assert of(swapped) != of(values)


def test_nothing_and_empty_tensors_have_fingerprints_too():
    assert of() == 0
    assert of(torch.empty(0)) == of(torch.empty(0))
