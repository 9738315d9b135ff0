"""A run that does not repeat itself is no bug: captures of 700 and 4,000 tokens on an H100."""

from functools import cache

import pytest

from tests.profiles import LONG, LONG_8B, LONG_FLASH, LONGEST
from tracediff.cli.last_words import what_was_found
from tracediff.diff import diff_tables
from tracediff.diff.answer import answer
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.judgement import Judgement
from tracediff.diff.noise import noise_in_words
from tracediff.findings.explain import explain
from tracediff.findings.explain_questions import Reply
from tracediff.findings.facts import gather
from tracediff.kernels import parse
from tracediff.measured import ControlResult, State, read_evidence
from tracediff.trace import read_trace

VARIED = [(LONG, 2), (LONG, 7), (LONGEST, 2), (LONG_8B, 2)]
PAIRS = [*VARIED, (LONG_FLASH, 2), (LONG_FLASH, 7)]
every_pair = pytest.mark.parametrize(("folder", "batch"), PAIRS, ids=[f"{f.name}-{b}" for f, b in PAIRS])


@cache
def measured(folder, batch):
    return attach_evidence(diff_tables(read_trace(folder / "b1.sqlite"), read_trace(folder / f"b{batch}.sqlite")))


@every_pair
def test_no_leak_is_said_anywhere(folder, batch):
    diff = measured(folder, batch)
    assert diff.evidence.controls["neighbours"].answer is not ControlResult.DIFFERS
    assert not answer(diff).judgement.bug
    assert "leak" not in explain(gather(folder)).headline.lower()


@every_pair
def test_no_prediction_is_contradicted(folder, batch):
    diff = measured(folder, batch)
    assert not any(row.contradicted for row in diff.rows)
    assert sum(row.bits_equal is True for row in diff.rows) > 800


@pytest.mark.parametrize(("folder", "batch"), VARIED, ids=[f"{f.name}-{b}" for f, b in VARIED])
def test_the_attention_that_varies_is_named_with_its_kernel(folder, batch):
    diff = measured(folder, batch)
    assert answer(diff).judgement is Judgement.NOT_REPEATABLE
    unstable = [row for row in diff.rows if row.state is State.UNSTABLE]
    assert unstable
    for row in unstable:
        assert row.module.endswith("self_attn")
        assert row.phase.startswith("decode")
        assert "cudnn_sdpa" in {parse(name).family for name in row.evidence.unstable.kernels}
        assert row.bits_equal is None


def test_the_last_words_of_the_capture_name_the_cause_and_what_was_seen_to_help():
    lines = what_was_found(
        {batch: LONG / f"b{batch}.sqlite" for batch in (1, 2, 7)}, read_evidence(LONG / "evidence.json")
    )
    assert [line.partition("  ")[0] for line in lines] == ["batch 1 → 2", "batch 1 → 7"]
    for line in lines:
        assert "DOES NOT REPEAT ITSELF" in line
        assert "Cause: torch's default attention, cuDNN (self_attn gave up to " in line
    assert answer(measured(LONG, 7)).settle == "with `--attention flash` (or efficient, math) it repeats itself"


def test_noise_alone_explains_the_logits_of_4000_tokens():
    (pair,) = read_evidence(LONGEST / "evidence.json").pairs
    assert not pair.logits["decode[2]"].equal
    assert all(bits.equal for bits in pair.pinned_logits.values())
    assert (pair.first_origin, pair.repair) == (None, None)
    question = next(each for each in explain(gather(LONGEST)).questions if "first module" in each.text)
    assert (question.reply, question.because.rpartition(": ")[2]) == (Reply.NOTHING, "it is noise alone")


def test_noise_is_named_as_the_only_cause_only_where_nothing_else_differs():
    assert "besides" not in answer(measured(LONGEST, 2)).cause
    beside = answer(measured(LONG, 2))
    assert beside.cause.endswith(
        "; besides, threads per row 512 → 256 (seldom shows in 16 bits) in input_layernorm (decode[0])"
    )


def test_beside_noise_an_order_of_summation_is_found_and_repaired():
    two, seven = read_evidence(LONG / "evidence.json").pairs
    assert not two.pinned_logits["decode[2]"].equal
    assert two.first_origin == ("decode[0]", "model.layers.11.input_layernorm")
    assert (two.repair.minimal, two.repair.logits_equal) == (("input_layernorm",), True)
    assert seven.first_origin == ("decode[0]", "model.layers.0.post_attention_layernorm")
    assert seven.repair.logits_equal


def test_a_control_that_noise_made_useless_is_not_called_unmade():
    unknown = " ".join(explain(gather(LONG)).cannot_know)
    assert "the run does not repeat itself, with or without the profiler" in unknown
    assert "not made" not in unknown


def test_no_difference_leaves_no_module_to_look_for():
    question = next(each for each in explain(gather(LONG_FLASH)).questions if "first module" in each.text)
    assert (question.reply, question.because) == (Reply.NOTHING, "all logits that were measured have equal bits")


@pytest.mark.parametrize("batch", [2, 7])
def test_with_flash_the_run_repeats_itself_and_the_logits_are_bit_identical(batch):
    diff = measured(LONG_FLASH, batch)
    assert diff.evidence.unstable == ()
    assert all(bits.equal for bits in diff.evidence.logits.values())
    for name in ("run_to_run", "neighbours", "position", "profiler"):
        assert diff.evidence.controls[name].answer is ControlResult.EQUAL
    assert answer(diff).judgement is Judgement.NO_DIFFERENCE
    assert noise_in_words(diff.evidence) is None
