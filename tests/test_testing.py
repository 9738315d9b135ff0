"""The assertions for other people's tests."""

import pytest

from tests.profiles import BFLOAT16, FLOAT16
from tracediff.testing import assert_batch_invariant, assert_same_order


def test_a_trace_keeps_its_own_order():
    assert_same_order(FLOAT16 / "b1.sqlite", FLOAT16 / "b1.sqlite")


def test_another_order_fails_and_the_first_module_is_named():
    with pytest.raises(
        AssertionError, match=r"129 × order-changed; model\.layers\.0\.self_attn\.q_proj \(prefill\): split-K 3 → 2"
    ):
        assert_same_order(FLOAT16 / "b1.sqlite", FLOAT16 / "b2.sqlite", phases=["prefill"], allow_unknown=True)


def test_what_cannot_be_judged_fails_unless_allowed():
    pair = BFLOAT16 / "b1.sqlite", BFLOAT16 / "b2.sqlite"
    with pytest.raises(AssertionError):
        assert_same_order(*pair)


@pytest.mark.torch
class TestBatchInvariance:
    @pytest.fixture(autouse=True)
    def _torch(self):
        pytest.importorskip("torch")

    def model(self, last):
        import torch

        return torch.nn.Sequential(torch.nn.Tanh(), last).eval()

    def inputs(self):
        import torch

        return torch.linspace(-1, 1, 8)[None]

    def test_a_model_that_works_row_by_row_passes(self):
        import torch

        assert_batch_invariant(self.model(torch.nn.ReLU()), self.inputs(), batches=(2, 3))

    def test_a_module_whose_bits_follow_the_batch_is_named(self):
        import torch

        class FollowsTheBatch(torch.nn.Module):
            def forward(self, values):
                return values * (1 + 1e-3 * (len(values) > 1))

        with pytest.raises(AssertionError, match=r"batch 2: .* the first module that gives different bits .* is 1"):
            assert_batch_invariant(self.model(FollowsTheBatch()), self.inputs())

    def test_a_module_that_does_not_repeat_itself_is_no_verdict_on_the_batch(self):
        import torch

        class Noise(torch.nn.Module):
            def forward(self, values):
                return values + torch.rand_like(values)

        with pytest.raises(AssertionError, match=r"1 does not repeat itself .* so invariance cannot be told"):
            assert_batch_invariant(self.model(Noise()), self.inputs())

    def test_more_than_one_row_is_refused(self):
        import torch

        with pytest.raises(ValueError, match="one row"):
            assert_batch_invariant(torch.nn.ReLU(), torch.zeros(2, 3))
