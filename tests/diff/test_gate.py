"""A gate fails where its verdicts are found, or what it has not seen could hold them."""

import pytest

from tests.changed import replace
from tests.diff.rules.make import kernel
from tests.diff.test_attached_evidence import diff, row
from tracediff.diff.compared import LeftOut, NotCompared
from tracediff.diff.gate import failures, verdicts_named
from tracediff.diff.result import Verdict
from tracediff.errors import TracediffError

SAME = row("m", kernel("k"), kernel("k"))


@pytest.fixture
def changed(tmp_path):
    """One module sums in another order, one keeps its order with another tile, one runs the same kernel."""
    return diff(tmp_path)


def left_out(side, why, kernels=38):
    return replace(side, not_compared=(NotCompared(why=why, phase="decode", executions=3, kernels=kernels),))


@pytest.mark.parametrize("words", ["", " ", "order-changed,", "order_changed"])
def test_a_word_that_is_no_verdict_is_trouble(words):
    with pytest.raises(TracediffError, match="is not a verdict") as raised:
        verdicts_named([words])
    assert raised.value.hint == "choose from same-kernels, same-order, unknown, order-changed"


def test_verdicts_are_separated_by_commas_and_each_counts_once():
    assert verdicts_named(["unknown, order-changed", "unknown"]) == (Verdict.UNKNOWN, Verdict.ORDER_CHANGED)


def test_each_verdict_asked_for_is_counted_over_all_comparisons(changed):
    assert failures([changed, changed], [Verdict.ORDER_CHANGED, Verdict.UNKNOWN], False) == ("2 × order-changed",)
    assert failures([changed], [Verdict.UNKNOWN], False) == ()
    assert failures([changed], [], False) == ()


def test_any_difference_counts_modules_with_another_kernel_or_launch(changed):
    assert failures([changed], [], True) == ("2 modules with another kernel or launch",)
    one = replace(changed, rows=(next(row for row in changed.rows if row.changed),))
    assert failures([one], [], True) == ("1 module with another kernel or launch",)
    assert failures([replace(changed, rows=(SAME,))], [], True) == ()


@pytest.mark.parametrize("why", [LeftOut.OTHER_KIND, LeftOut.OTHER_COUNT, LeftOut.OTHER_LAUNCH, LeftOut.OUTSIDE])
def test_kernels_that_were_not_compared_are_as_good_as_unknown(changed, why):
    same = replace(changed, rows=(SAME,), a=left_out(changed.a, why), b=left_out(changed.b, why, 4000))
    assert failures([same], [], True) == ("4,038 kernels not compared",)
    assert failures([same], [Verdict.UNKNOWN], False) == ("4,038 kernels not compared",)
    assert failures([same], [Verdict.ORDER_CHANGED], False) == ()


@pytest.mark.parametrize("why", [LeftOut.SET_UP, LeftOut.NOT_ASKED_FOR])
def test_set_up_and_what_the_user_left_out_fail_no_gate(changed, why):
    same = replace(changed, rows=(SAME,), a=left_out(changed.a, why))
    assert failures([same], [Verdict.UNKNOWN], True) == ()
