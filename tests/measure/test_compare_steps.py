"""Comparing the runs of one prompt: distances between distributions."""

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tracediff.measure.compare_steps import distributions  # noqa: E402


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("noise", [1e-3, 0.1, 2.0])
def test_divergence_and_ratio_are_those_of_double_precision(dtype, noise):
    generator = torch.Generator().manual_seed(0)
    base = (torch.randn(20, 5000, generator=generator) * 3).to(getattr(torch, dtype))
    other = (base.float() + noise * torch.randn(20, 5000, generator=generator) + 0.25).to(base.dtype)
    chosen = base.argmax(dim=-1)
    divergence, ratio = distributions(base, other, chosen)
    before, after = base.double().log_softmax(-1), other.double().log_softmax(-1)
    exact = (before.exp() * (before - after)).sum(-1)
    assert divergence == pytest.approx(exact.tolist(), rel=2e-2, abs=2e-8)
    assert ratio == pytest.approx((after - before).gather(-1, chosen[:, None])[:, 0].exp().tolist(), rel=1e-4)


def test_equal_bits_and_equal_shifts_diverge_by_nothing():
    base = torch.tensor([[1.0, 2.0, 4.0]])
    assert distributions(base, base.clone(), torch.tensor([2])) == ((0.0,), (1.0,))
    assert distributions(base, base + 8, torch.tensor([2])) == ((0.0,), (1.0,))


def test_masked_tokens_count_for_nothing():
    base = torch.tensor([[1.0, 2.0, float("-inf")]])
    other = torch.tensor([[1.0, 2.5, float("-inf")]])
    (divergence,), (ratio,) = distributions(base, other, torch.tensor([1]))
    assert 0 < divergence < 0.1
    assert ratio > 1
