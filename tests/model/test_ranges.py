"""Ranges open and close with the calls, whatever happens inside them."""

import sys
import types

import pytest

from tracediff.model.ranges import decode_phase, open_range, ranges_around_modules

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


@pytest.fixture
def events(monkeypatch):
    """What would go to NVTX."""
    seen = []
    fake = types.SimpleNamespace(
        push_range=lambda text, domain: seen.append(f"{domain}>{text}"),
        pop_range=lambda domain: seen.append(f"{domain}<"),
    )
    monkeypatch.setitem(sys.modules, "nvtx", fake)
    return seen


class Failing(torch.nn.Module):
    def forward(self, value):
        raise ValueError("no")


def model_of(last):
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), last)
    return torch.nn.Sequential(inner)


def test_every_module_is_a_range_inside_its_parents(events):
    model = model_of(torch.nn.ReLU())
    with ranges_around_modules(model):
        model(torch.ones(1, 2))
    assert events == [
        *("tracediff>0", "tracediff>0.0", "tracediff<", "tracediff>0.1", "tracediff<", "tracediff<"),
    ]


def test_an_exception_in_the_model_closes_every_range_and_comes_through(events):
    model = model_of(Failing())
    with pytest.raises(ValueError, match="no"), ranges_around_modules(model), open_range("run"):
        model(torch.ones(1, 2))
    assert events.count("tracediff<") == sum(event.startswith("tracediff>") for event in events) == 4


def test_afterwards_the_model_is_as_it_was(events):
    model = model_of(torch.nn.ReLU())
    with ranges_around_modules(model):
        pass
    assert not any("forward" in vars(module) for module in model.modules())
    model(torch.ones(1, 2))
    assert events == []


def test_a_forward_that_somebody_else_set_is_kept(events):
    model = model_of(torch.nn.ReLU())

    def own(value):
        return value + 1

    model[0].forward = own
    with ranges_around_modules(model):
        assert model(torch.zeros(1, 2)).tolist() == [[1, 1]]
    assert model[0].forward is own
    assert events == ["tracediff>0", "tracediff<"]


def test_ranges_change_no_bit(events):
    torch.manual_seed(0)
    model = model_of(torch.nn.Linear(2, 2))
    value = torch.randn(3, 2)
    plain = model(value)
    with ranges_around_modules(model):
        assert torch.equal(model(value), plain)


def test_decode_steps_are_counted_from_zero():
    assert decode_phase(0) == "decode[0]"
