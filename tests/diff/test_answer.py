"""The answer: every judgement follows from its evidence, and no stronger one."""

import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.changed import replace
from tests.diff.rules.make import kernel, nvjet
from tests.diff.test_attached_evidence import diff, row
from tests.profiles import BFLOAT16, FLOAT16, FLOAT32
from tracediff.diff import diff_tables
from tracediff.diff.answer import answer
from tracediff.diff.compared import LeftOut, NotCompared
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.judgement import Judgement
from tracediff.diff.result import Verdict
from tracediff.measured import Bits, Control, LogitsMove, ModuleBits, Repair, RunEvidence, Unstable
from tracediff.trace import read_trace

EQUAL, OTHER = Bits(equal=True), Bits(equal=False, share=0.5, max_ulp=3)
HELD = {name: Control(equal=True, compared="") for name in ("run_to_run", "neighbours", "position", "profiler")}
ORIGIN = ModuleBits(isolated=OTHER, propagated=OTHER)
CLEAN = ModuleBits(isolated=EQUAL, propagated=EQUAL)
NOISE = Unstable(phase="prefill", module="m", batch=2, outcomes=4, repeats=5, kernels=("cudnn_sdpa",))


def measured(tmp_path, modules=(ORIGIN, CLEAN, CLEAN), **changes):
    """Three modules (split-K 3 → 2, another tile, elementwise) with evidence; logits differ, no token flips."""
    plain = diff(tmp_path)
    run = RunEvidence(
        **{
            "batches": (1, 2),
            "logits": {"prefill": OTHER},
            "tokens": {"prefill": (7, 7)},
            "controls": HELD,
            "repeats": 5,
            "origins": modules.count(ORIGIN),
            **changes,
        }
    )
    rows = tuple(replace(each, evidence=bits) for each, bits in zip(plain.rows, modules, strict=True))
    return replace(plain, rows=rows, evidence=run)


def judged(tmp_path, modules=(ORIGIN, CLEAN, CLEAN), **changes):
    return answer(measured(tmp_path, modules, **changes))


def test_another_order_at_the_origin_with_clean_controls_is_expected(tmp_path):
    found = judged(tmp_path)
    assert found.judgement is Judgement.EXPECTED
    assert found.sentence == "expected: logits differ, no token flipped. Cause: split-K 3 → 2 in q_proj (prefill)"
    assert found.settle == ""


def test_equal_logits_are_no_difference_whatever_kernels_ran(tmp_path):
    found = judged(tmp_path, (CLEAN, CLEAN, CLEAN), logits={"prefill": EQUAL})
    assert found.judgement is Judgement.NO_DIFFERENCE
    assert found.outcome == "logits are bit-identical, though 1 of 3 modules run different kernels"
    assert found.cause == ""


def test_a_confirmed_leak_is_a_bug(tmp_path):
    leaks = HELD | {"neighbours": Control(equal=False, compared="", first="prefill, mlp")}
    found = judged(tmp_path, controls=leaks)
    assert found.judgement is Judgement.LEAK
    assert found.judgement.bug
    # An order of summation is no cause of a leak, whatever else changed.
    assert found.sentence == "bug: leak: a row's bits depend on what its neighbours hold, first in prefill, mlp"
    assert [control.detail for control in found.controls if control.name == "neighbours"] == ["first in prefill, mlp"]


def test_noise_is_named_before_anything_that_could_follow_from_it(tmp_path):
    noisy = ModuleBits(isolated=None, propagated=OTHER, unstable=NOISE)
    found = judged(tmp_path, (noisy, CLEAN, CLEAN), unstable=(NOISE,), steady_attentions=("flash",))
    assert found.judgement is Judgement.NOT_REPEATABLE
    assert found.cause == "m gave up to 4 different outputs in 5 runs on equal inputs, in 1 place"
    assert found.settle == "with `--attention flash` it repeats itself"


def test_a_leak_that_noise_may_explain_is_no_leak(tmp_path):
    doubted = HELD | {"neighbours": Control(equal=None, compared="", why="attention varies by itself")}
    found = judged(tmp_path, controls=doubted)
    assert found.judgement is Judgement.CANNOT_TELL
    assert "neighbours not controlled" in found.outcome


@pytest.mark.parametrize("control", ["run_to_run", "neighbours"])
def test_without_the_controls_a_difference_is_not_called_expected(tmp_path, control):
    missing = {name: held for name, held in HELD.items() if name != control}
    found = judged(tmp_path, controls=missing)
    assert found.judgement is Judgement.CANNOT_TELL
    assert found.settle


@pytest.mark.parametrize("control", ["position", "profiler"])
def test_a_control_that_found_other_bits_leaves_the_question_open(tmp_path, control):
    found = judged(tmp_path, controls=HELD | {control: Control(equal=False, compared="")})
    assert found.judgement is Judgement.CANNOT_TELL


def test_a_contradicted_prediction_is_told_and_never_expected(tmp_path):
    found = judged(tmp_path, (ORIGIN, ORIGIN, CLEAN))
    assert found.judgement is Judgement.CANNOT_TELL
    assert found.contradicted == ("model.layers.0.mlp.up_proj (prefill)",)
    assert "report" in found.settle


def test_why_bits_should_be_equal_is_no_cause_of_a_contradicted_prediction(tmp_path):
    compared = measured(tmp_path, (CLEAN, ORIGIN, CLEAN))
    tile = compared.rows[1]
    assert tile.verdict is Verdict.SAME_ORDER
    found = answer(compared)
    assert found.contradicted == ("model.layers.0.mlp.up_proj (prefill)",)
    assert found.cause == "different kernel (tile 128×8×64 → 128×16×64) in up_proj (prefill)"
    launched = (kernel("k", grid=(1, 1, 1)), kernel("k", grid=(2, 1, 1)))
    other = replace(row(tile.module, *launched), evidence=ORIGIN, verdict=Verdict.SAME_ORDER)
    found = answer(replace(compared, rows=(other,)))
    assert found.cause == "different launch of the same kernel in up_proj (prefill)"


def test_logits_that_differ_without_an_origin_are_not_explained(tmp_path):
    assert judged(tmp_path, (CLEAN, CLEAN, CLEAN)).judgement is Judgement.CANNOT_TELL


def test_logits_that_were_not_measured_are_not_called_different(tmp_path):
    found = judged(tmp_path, logits={"prefill": None})
    assert found.judgement is Judgement.CANNOT_TELL
    assert found.outcome == "no logits were measured"


@pytest.mark.parametrize(("margin", "judgement"), [(0.01, Judgement.EXPECTED), (0.5, Judgement.CANNOT_TELL)])
def test_a_flip_must_be_a_near_tie_by_what_moves_where_nothing_flips(tmp_path, margin, judgement):
    """Its own two logits moved by as much as lay between them, as those of every flip do."""
    flip = LogitsMove(max_abs=margin, scale=10.0, margins=(margin, margin), top_changes=(margin, margin))
    quiet = LogitsMove(max_abs=0.05, scale=10.0, margins=(3.0, 3.0), top_changes=(0.0, 0.0))
    tokens = {"prefill": (7, 8), "decode[0]": (7, 7)}
    found = judged(tmp_path, tokens=tokens, moves={"prefill": flip, "decode[0]": quiet})
    assert found.judgement is judgement
    assert found.margin.max_abs == max(margin, 0.05)
    assert "a different token is chosen in prefill" in found.outcome


def test_the_traces_alone_say_what_can_differ_and_that_nothing_was_measured(tmp_path):
    found = answer(diff(tmp_path))
    assert found.judgement is Judgement.EXPECTED
    assert not found.measured
    assert found.sentence.startswith(
        "expected (from the traces alone): bits can differ. Cause: split-K 3 → 2 in q_proj"
    )
    assert found.settle.startswith("compare the logits or log-probabilities that the program itself returns")


def test_what_was_not_compared_is_never_called_the_same(tmp_path):
    same = replace(diff(tmp_path), rows=(row("m", kernel("k"), kernel("k")),))
    assert answer(same).judgement is Judgement.NO_DIFFERENCE
    left_out = NotCompared(why=LeftOut.OTHER_KIND, phase="decode", executions=3, kernels=38)
    partial = replace(same, a=replace(same.a, not_compared=(left_out,)))
    found = answer(partial)
    assert found.judgement is Judgement.CANNOT_TELL
    assert "38 kernels were not compared" in found.outcome
    assert found.not_compared == (("a", left_out),)
    assert found.settle == "compare the phases they ran in, or record both runs alike"


def test_a_module_of_one_trace_only_is_not_the_same(tmp_path):
    plain = diff(tmp_path)
    alone = replace(plain.rows[2], b=(), verdict=Verdict.UNKNOWN, reason="only in a")
    assert answer(replace(plain, rows=(alone,))).judgement is Judgement.CANNOT_TELL


def test_no_kernels_are_no_answer(tmp_path):
    assert answer(replace(diff(tmp_path), rows=())).judgement is Judgement.CANNOT_TELL


# -- over all evidence that can be -------------------------------------------------------------------------------------

BITS = st.sampled_from([None, EQUAL, OTHER])
CONTROL = st.builds(Control, equal=st.sampled_from([None, True, False]), compared=st.just(""))
RUNS = st.fixed_dictionaries(
    {
        "logits": st.dictionaries(st.sampled_from(["prefill", "decode[0]"]), BITS, max_size=2),
        "tokens": st.dictionaries(st.just("prefill"), st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=1),
        "controls": st.dictionaries(st.sampled_from(list(HELD)), CONTROL, max_size=4),
        "unstable": st.sampled_from([(), (NOISE,)]),
        "repair": st.sampled_from(
            [None, Repair(minimal=("q_proj",), logits_equal=True, complement_logits_equal=None, tried=1)]
        ),
    }
)
MODULES = st.tuples(*[st.builds(ModuleBits, isolated=BITS, propagated=BITS)] * 3)


@given(modules=MODULES, run=RUNS)
def test_no_judgement_is_stronger_than_its_evidence(tmp_path_factory, modules, run):
    found = judged(tmp_path_factory.getbasetemp(), modules, **run)
    controls = {name: control.equal for name, control in run["controls"].items()}
    logits = [bits.equal for bits in run["logits"].values() if bits is not None]
    if found.judgement is Judgement.LEAK:
        assert controls["neighbours"] is False
        assert found.controls
    if found.judgement is Judgement.NOT_REPEATABLE:
        assert run["unstable"] or controls["run_to_run"] is False
    if found.judgement is Judgement.NO_DIFFERENCE and run["logits"]:
        assert logits and all(logits)
    if found.judgement is Judgement.EXPECTED and run["logits"]:
        assert controls["run_to_run"] and controls["neighbours"] and not all(logits)
        assert any(bits.isolated and not bits.isolated.equal for bits in modules)
    if "bit-identical" in found.outcome:
        assert all(logits)
    if "no token flipped" in found.outcome:
        assert all(a == b for a, b in run["tokens"].values())
    json.dumps(found.to_dict())


# -- the recorded captures ------------------------------------------------------------------------------------------


@cache
def recorded(folder, batch):
    return attach_evidence(diff_tables(read_trace(folder / "b1.sqlite"), read_trace(folder / f"b{batch}.sqlite")))


@pytest.mark.parametrize("batch", [2, 8])
@pytest.mark.parametrize("folder", [FLOAT16, BFLOAT16, FLOAT32], ids=lambda folder: folder.name)
def test_the_chain_adds_up_to_the_rows(folder, batch):
    result = recorded(folder, batch)
    links = {link.name: link for link in answer(result).chain}
    assert links["kernels"].total == links["order"].total == len(result.rows)
    assert links["kernels"].differing == sum(each.changed for each in result.rows)
    assert links["order"].differing == result.verdicts[Verdict.ORDER_CHANGED]
    assert links["bits"].total == sum(each.bits_equal is not None for each in result.rows)
    sections = answer(result).sections
    assert sum(len(group.rows) for section in sections for group in section.groups) == len(result.rows)
    assert tuple(map(sum, zip(*(section.kernels for section in sections), strict=True))) == (
        result.a.kernels,
        result.b.kernels,
    )


def test_the_chain_ends_with_what_was_measured_of_logits_and_tokens(tmp_path):
    logits = {"prefill": OTHER, "decode[0]": EQUAL, "decode[1]": None}
    links = {link.name: link for link in judged(tmp_path, logits=logits, tokens={"prefill": (7, 8)}).chain}
    assert (links["logits"].differing, links["logits"].total, links["logits"].counted) == (1, 2, "phases")
    assert (links["tokens"].differing, links["tokens"].total, links["tokens"].counted) == (1, 1, "phases")
    unmeasured = {link.name: link.differing for link in answer(diff(tmp_path)).chain}
    assert (unmeasured["bits"], unmeasured["logits"], unmeasured["tokens"]) == (None, None, None)


def test_the_cause_names_the_products_before_the_norms_and_then_what_else_differs():
    assert answer(recorded(FLOAT16, 2)).cause == (
        "split-K 3 → 2 in q_proj and o_proj (prefill); threads per row 128 → 64 (seldom shows in 16 bits) in "
        "input_layernorm and post_attention_layernorm (prefill); more in norm"
    )


def test_a_trace_against_itself_is_no_difference():
    trace = read_trace(FLOAT16 / "b1.sqlite")
    found = answer(diff_tables(trace, trace))
    assert found.judgement is Judgement.NO_DIFFERENCE
    assert found.outcome == "the same kernels, launched alike"


def test_a_split_that_differs_alone_is_enough_to_be_told(tmp_path):
    only = replace(diff(tmp_path), rows=(row("m", nvjet(3), nvjet(2), layer=None),))
    assert answer(only).cause == "split-K 3 → 2 in m (prefill)"


def test_what_differs_without_a_change_in_the_traces_has_no_reason_of_the_rules_for_a_cause(tmp_path):
    """The rules' reason says why the module cannot be judged: that is no cause."""
    alike = replace(measured(tmp_path).rows[2], verdict=Verdict.UNKNOWN, reason="no launch recorded", evidence=ORIGIN)
    found = answer(replace(measured(tmp_path), rows=(alike,)))
    assert found.cause == "no change that the traces record in act_fn (prefill)"
