"""A gate fails where its verdicts are found, or what it has not seen could hold them."""

import pytest

from tests.changed import replace
from tests.diff.rules.make import kernel
from tests.diff.test_attached_evidence import diff, row
from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.compared import LeftOut, NotCompared
from tracediff.diff.gate import failures, gates_named
from tracediff.diff.result import Verdict
from tracediff.errors import TracediffError
from tracediff.measured import Bits, ModuleBits, RunEvidence, Unstable

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
        gates_named([words])
    assert raised.value.hint == "choose from same-kernels, same-order, unknown, order-changed, bits"


def test_verdicts_are_separated_by_commas_and_each_counts_once():
    named = gates_named(["unknown, order-changed", "unknown,bits"])
    assert named == (Verdict.UNKNOWN, Verdict.ORDER_CHANGED, "bits")


def test_each_verdict_asked_for_is_counted_over_all_comparisons(changed):
    assert failures([changed, changed], [Verdict.ORDER_CHANGED, Verdict.UNKNOWN], False) == ("2 × order-changed",)
    assert failures([changed], [Verdict.UNKNOWN], False) == ()
    assert failures([changed], [], False) == ()


def test_any_difference_counts_modules_with_another_kernel_or_launch(changed):
    assert failures([changed], [], True) == ("2 modules with a different kernel or launch",)
    one = replace(changed, rows=(next(row for row in changed.rows if row.changed),))
    assert failures([one], [], True) == ("1 module with a different kernel or launch",)
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


# -- measured bits ----------------------------------------------------------------------------------------------------

EQUAL, OTHER = Bits(equal=True), Bits(equal=False, share=0.5, max_ulp=3)


def measured(changed, logits, *isolated):
    """The comparison with measured logits, and with measured outputs of its modules on equal inputs."""
    bits = [ModuleBits(isolated=each, propagated=None) for each in isolated]
    rows = [replace(row, evidence=each) for row, each in zip(changed.rows[: len(bits)], bits, strict=True)]
    return replace(
        changed, rows=(*rows, *changed.rows[len(bits) :]), evidence=RunEvidence(batches=(1, 2), logits=logits)
    )


def test_bits_are_those_that_were_measured_whatever_the_traces_predict(changed):
    assert failures([measured(changed, {"prefill": EQUAL}, EQUAL, EQUAL)], ["bits"], False) == ()
    assert failures([measured(changed, {"prefill": OTHER}, OTHER, EQUAL)], ["bits"], False) == (
        "logits differ in bits in 1 phase",
        "1 module with different bits on equal inputs",
    )


def test_a_module_that_varies_from_run_to_run_fails_the_gate_of_bits(changed):
    noise = Unstable(phase="prefill", module="m", batch=2, outcomes=2, repeats=5)
    varies = replace(changed.rows[0], evidence=ModuleBits(isolated=None, propagated=None, unstable=noise))
    assert failures([replace(changed, rows=(varies,))], ["bits"], False) == (
        "1 module whose bits vary from run to run",
    )


def test_logits_of_phases_that_were_not_asked_for_fail_no_gate(changed):
    assert failures([measured(changed, {"prefill": EQUAL, "decode[0]": OTHER})], ["bits"], False) == ()
    assert failures([measured(changed, {"prefill": OTHER, "decode[0]": EQUAL})], ["bits"], False) != ()


@pytest.mark.parametrize("logits", [{}, {"prefill": None}])
def test_bits_of_which_none_were_measured_are_trouble(changed, logits):
    with pytest.raises(TracediffError, match="no bits were measured of"):
        failures([measured(changed, {"prefill": EQUAL}, EQUAL), measured(changed, logits)], ["bits"], False)
    with pytest.raises(TracediffError, match="no bits were measured of"):
        failures([changed], ["bits"], False)


@pytest.mark.parametrize("logits", [{"prefill": None}, {"decode[0]": OTHER}])
def test_equal_modules_make_no_gate_pass_where_the_logits_of_a_phase_were_not_measured(changed, logits):
    with pytest.raises(TracediffError, match="no logits of prefill were measured of"):
        failures([measured(changed, logits, EQUAL, EQUAL)], ["bits"], False)


def test_what_is_known_to_differ_fails_the_gate_whatever_was_not_measured(changed):
    assert failures([measured(changed, {"prefill": None}, OTHER)], ["bits"], False) == (
        "1 module with different bits on equal inputs",
    )
    assert failures([measured(changed, {"prefill": OTHER}), changed], ["bits"], False) == (
        "logits differ in bits in 1 phase",
    )


def test_of_chosen_modules_each_must_be_measured(changed):
    chosen = ChosenModules(pattern="proj", paths=frozenset(row.module for row in changed.rows))
    rows = len(changed.rows)
    assert failures([measured(changed, {}, *[EQUAL] * rows)], ["bits"], False, chosen) == ()
    with pytest.raises(TracediffError, match=r"no bits of 1 module \(of --module proj\) were measured of"):
        failures([measured(changed, {"prefill": EQUAL}, *[EQUAL] * (rows - 1))], ["bits"], False, chosen)


def test_evidence_that_is_not_used_is_why_a_gate_cannot_be_asked(changed):
    warned = replace(changed, warnings=("evidence.json is of dtype float16; it is not used.",))
    with pytest.raises(TracediffError, match=r"--fail-on bits: evidence\.json is of dtype float16; it is not used"):
        failures([warned], ["bits"], False)
