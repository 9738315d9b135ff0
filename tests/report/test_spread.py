"""A change of GPU time is told only where equal work varies less."""

import pytest

from tests.changed import replace
from tests.diff.rules.make import nvjet
from tests.diff.test_attached_evidence import row
from tracediff.report.diff.spread import Spread, equal_parts


def layers(times):
    """A module per layer, with these GPU times in ns on both sides."""
    made = []
    for layer, (a, b) in enumerate(times):
        one = row(f"model.layers.{layer}.q_proj", nvjet(3), nvjet(2), layer)
        made.append(
            replace(one, a=(replace(one.a[0], duration_ns=a),), b=(replace(one.b[0], duration_ns=b),), pairs=one.pairs)
        )
    return made


NOISY = layers([(900, 950), (1100, 1050), (1000, 1000), (1000, 1000)])


def test_the_spread_is_that_of_layers_that_ran_the_same_kernels():
    a, b = Spread.of(NOISY).relative
    assert a == pytest.approx(0.0816, abs=1e-3)
    assert b == pytest.approx(0.0408, abs=1e-3)


def test_a_change_within_the_spread_is_not_told_and_one_beyond_it_is():
    spread = Spread(relative=(0.02, 0.02))
    # Two standard errors of a mean over 4 layers on both sides: 2 × 0.01 × √2 = 2.8 %.
    assert spread.change(1000, 1020, 4) == ""
    assert spread.change(1000, 1040, 4) == "+4 %"
    assert spread.change(1040, 1000, 4) == "−4 %"
    assert spread.change(1000, 1020, 400) == "+2 %"


def test_what_ran_once_has_no_spread():
    assert Spread(relative=(0.02, 0.02)).change(1000, 2000, 1) == ""
    assert Spread.of(NOISY[:3]).relative is None
    assert Spread(relative=None).change(1000, 2000, 32) == ""


def test_equal_and_new_times_need_no_spread():
    assert Spread(relative=None).change(1000, 1000) == "0 %"
    assert Spread(relative=None).change(0, 1000) == "new"


def test_unequal_parts_count_for_fewer():
    assert equal_parts([10, 10, 10, 10]) == 4
    assert equal_parts([1000, 1, 1]) == pytest.approx(1, abs=0.01)
    assert equal_parts([]) == 1
