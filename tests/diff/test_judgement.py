"""The judgement in the words that a reader sees, gravest first."""

import pytest

from tests.changed import replace
from tests.diff.rules.make import kernel, nvjet
from tests.diff.test_attached_evidence import diff, row
from tracediff.diff.judgement import Judgement, judge, judge_evidence
from tracediff.diff.result import Verdict
from tracediff.measured import Bits, Control, LogitsMove, Repair, RunEvidence, Unstable

EQUAL, OTHER = Bits(equal=True), Bits(equal=False, share=0.5, max_ulp=3)
HELD = {name: Control(equal=True, compared="") for name in ("run_to_run", "neighbours", "position", "profiler")}
DIFFERS, OPEN = Control(equal=False, compared=""), Control(equal=None, compared="")
RUN = RunEvidence(
    batches=(1, 2), logits={"prefill": OTHER}, tokens={"prefill": (7, 7)}, controls=HELD, repeats=5
)  # fmt: skip
ATTENTION = Unstable(phase="prefill", module="layers.0.self_attn", batch=2, outcomes=4, repeats=5)
HOW = "`tracediff capture` on a GPU replays every module on equal inputs and runs the controls"

BY_THE_PROGRAM = (
    "compare the logits or log-probabilities that the program itself returns in both cases, each run twice: "
    "traces hold no values"
)


def told(evidence, origins=1, contradicted=0):
    found = judge_evidence(replace(evidence, origins=origins), contradicted)
    return found.judgement, found.outcome, found.settle


def move(margin, change):
    return LogitsMove(max_abs=1.0, scale=9.0, margins=(margin, margin), top_changes=(change, change))


def test_a_difference_with_origins_and_controls_that_hold_is_expected():
    assert told(RUN) == (Judgement.EXPECTED, "logits differ, no token flipped", "")


@pytest.mark.parametrize(
    ("logits", "tokens", "outcome"),
    [
        ({"prefill": OTHER}, {}, "logits differ"),
        ({"prefill": EQUAL, "decode[0]": OTHER}, {"decode[0]": (1, 1)}, "logits differ, no token flipped"),
        (
            {"prefill": OTHER},
            {"prefill": (1, 2), "decode[0]": (3, 3), "decode[1]": (4, 5)},
            "logits differ, a different token is chosen in prefill and decode[1]",
        ),
        ({"prefill": None, "decode[0]": OTHER}, {}, "logits differ"),
    ],
)
def test_what_came_out_is_told_of_logits_and_tokens(logits, tokens, outcome):
    assert told(replace(RUN, logits=logits, tokens=tokens))[:2] == (Judgement.EXPECTED, outcome)


def test_equal_logits_are_no_difference_and_unmeasured_ones_no_answer():
    assert told(replace(RUN, logits={"prefill": EQUAL})) == (
        Judgement.NO_DIFFERENCE,
        "logits are bit-identical",
        "",
    )
    assert told(replace(RUN, logits={"prefill": None})) == (Judgement.CANNOT_TELL, "no logits were measured", HOW)


def test_a_leak_needs_a_run_that_repeats_itself_or_measured_noise():
    leak = {**HELD, "neighbours": DIFFERS}
    assert told(replace(RUN, controls=leak)) == (
        Judgement.LEAK,
        "a row's bits depend on what its neighbours hold",
        "",
    )
    assert told(replace(RUN, controls=leak, repeats=None))[0] is Judgement.LEAK
    varies = {**leak, "run_to_run": DIFFERS}
    assert told(replace(RUN, controls=varies))[0] is Judgement.LEAK
    assert told(replace(RUN, controls=varies, repeats=None))[0] is Judgement.NOT_REPEATABLE
    unsure = {**leak, "run_to_run": OPEN}
    assert told(replace(RUN, controls=unsure, repeats=None))[0] is Judgement.CANNOT_TELL


@pytest.mark.parametrize(
    ("steady", "unstable", "settle"),
    [
        (("flash",), ATTENTION, "with `--attention flash` it repeats itself"),
        (
            ("flash", "math", "efficient"),
            ATTENTION,
            "with `--attention flash` (or math, efficient) it repeats itself",
        ),
        ((), ATTENTION, "no other attention backend makes it repeat itself"),
        (None, ATTENTION, "measure with another attention backend (`--attention flash`)"),
        (
            None,
            replace(ATTENTION, module="block.attention"),
            "measure with another attention backend (`--attention flash`)",
        ),
        (None, replace(ATTENTION, module="mlp"), "`tracediff determinism` measures which operations vary here"),
    ],
)
def test_a_run_that_does_not_repeat_itself_is_told_what_would_make_it(steady, unstable, settle):
    assert told(replace(RUN, unstable=(unstable,), steady_attentions=steady)) == (
        Judgement.NOT_REPEATABLE,
        "the same run, repeated, gives different bits; logits differ, no token flipped",
        settle,
    )


def test_whole_runs_that_vary_are_enough():
    assert told(replace(RUN, controls={**HELD, "run_to_run": DIFFERS}))[0] is Judgement.NOT_REPEATABLE


def test_a_contradicted_prediction_is_reported_before_anything_is_concluded():
    assert told(RUN, contradicted=1) == (
        Judgement.CANNOT_TELL,
        "logits differ, no token flipped; a prediction of equal bits was contradicted",
        "please report this: the rule that promised equal bits is wrong",
    )


@pytest.mark.parametrize(
    ("changes", "origins", "question", "settle"),
    [
        (
            {"controls": {**HELD, "position": DIFFERS}},
            1,
            "the control 'row position' found different bits",
            "an indexing fault",
        ),
        (
            {"controls": {**HELD, "profiler": DIFFERS}},
            1,
            "the control 'profiler' found different bits",
            "capture again",
        ),
        (
            {"controls": {}},
            1,
            "whether a fault could explain it is open: run to run and neighbours not controlled",
            HOW,
        ),
        (
            {"controls": {**HELD, "run_to_run": OPEN}},
            1,
            "whether a fault could explain it is open: run to run not controlled",
            HOW,
        ),
        (
            {"controls": {**HELD, "neighbours": OPEN}},
            1,
            "whether a fault could explain it is open: neighbours not controlled",
            HOW,
        ),
        ({}, 0, "yet no replayed module gives different bits", "between the modules"),
        (
            {"repair": Repair(minimal=(), logits_equal=False, complement_logits_equal=None, tried=9)},
            1,
            "yet computing every module row by row does not make the logits bit-identical",
            "between the modules",
        ),
    ],
)
def test_what_keeps_a_difference_from_being_expected_is_said(changes, origins, question, settle):
    judgement, outcome, what_would = told(replace(RUN, **changes), origins)
    assert (judgement, outcome) == (Judgement.CANNOT_TELL, f"logits differ, no token flipped; {question}")
    assert settle in what_would


def test_a_flip_is_expected_only_where_the_top_two_were_a_near_tie():
    flipped = replace(RUN, tokens={"prefill": (7, 8), "decode[0]": (3, 3)})
    assert told(replace(flipped, moves={"prefill": move(0.5, 0.5)}))[0] is Judgement.EXPECTED
    assert told(replace(flipped, moves={"decode[0]": move(0.5, 0.1)}))[0] is Judgement.EXPECTED  # none flipped there
    assert told(replace(flipped, moves={"decode[1]": move(0.5, 0.1)}))[0] is Judgement.EXPECTED  # no token known
    assert told(replace(flipped, moves={"prefill": move(None, 0.1)}))[0] is Judgement.EXPECTED  # not known
    assert told(replace(flipped, moves={"prefill": move(0.5, 0.1)}))[:2] == (
        Judgement.CANNOT_TELL,
        "logits differ, a different token is chosen in prefill; the token that flipped in prefill was no near tie",
    )


# -- the traces alone -------------------------------------------------------------------------------------------------


def traces(tmp_path, *rows):
    found = judge(replace(diff(tmp_path), rows=rows))
    return found.judgement, found.outcome, found.settle


SAME = row("m", kernel("k"), kernel("k"))
TILE = row("up", nvjet(1), nvjet(1, tile=(128, 16, 64)))


def test_no_kernels_cannot_be_judged(tmp_path):
    assert traces(tmp_path) == (
        Judgement.CANNOT_TELL,
        "neither trace holds a kernel to compare",
        "see `show --explain-coverage`",
    )


def test_the_same_kernels_and_kept_orders_are_no_difference(tmp_path):
    assert traces(tmp_path, SAME) == (Judgement.NO_DIFFERENCE, "the same kernels, launched alike", "")
    assert TILE.verdict is Verdict.SAME_ORDER
    assert traces(tmp_path, SAME, TILE) == (
        Judgement.NO_DIFFERENCE,
        "every sum keeps its order, though 1 of 2 modules run different kernels",
        "",
    )


def test_rows_that_cannot_be_judged_are_counted_and_those_of_one_trace_told(tmp_path):
    unknown = replace(SAME, verdict=Verdict.UNKNOWN)
    alone = replace(SAME, b=(), pairs=(), verdict=Verdict.UNKNOWN)
    assert traces(tmp_path, SAME, unknown) == (
        Judgement.CANNOT_TELL,
        "1 of 2 modules cannot be judged",
        BY_THE_PROGRAM,
    )
    assert traces(tmp_path, alone, replace(alone, a=(), b=SAME.b))[1] == (
        "2 of 2 modules cannot be judged (2 ran in one trace only)"
    )


SPLIT = row("q", nvjet(3), nvjet(2))
UNKNOWN = replace(SAME, verdict=Verdict.UNKNOWN)


def test_modules_that_cannot_be_judged_are_counted_beside_those_that_sum_in_another_order(tmp_path):
    assert traces(tmp_path, SPLIT, SAME)[:2] == (Judgement.EXPECTED, "bits can differ")
    assert traces(tmp_path, SPLIT, SAME, UNKNOWN)[:2] == (
        Judgement.EXPECTED,
        "bits can differ; 1 of 3 modules cannot be judged",
    )


def test_one_change_of_order_explains_no_comparison_that_is_mostly_unknown(tmp_path):
    mostly = judge(replace(diff(tmp_path), rows=(SPLIT, UNKNOWN, UNKNOWN)))
    assert (mostly.judgement, mostly.outcome) == (
        Judgement.CANNOT_TELL,
        "bits can differ; 2 of 3 modules cannot be judged",
    )
    assert mostly.modules_open


def test_a_capture_measures_captures_and_nothing_of_other_programs(tmp_path):
    recorded = replace(diff(tmp_path), rows=(SPLIT,))
    assert judge(recorded).settle == BY_THE_PROGRAM
    entry = {"file": "b1.sqlite", "batch": 1, "repeat_identical": True}
    sides = [replace(side, info=replace(side.info, manifest=entry)) for side in (recorded.a, recorded.b)]
    assert judge(replace(recorded, a=sides[0], b=sides[1])).settle == HOW
    assert judge(replace(recorded, a=sides[0])).settle == BY_THE_PROGRAM


def test_a_leak_is_said_with_the_module_where_it_was_first_seen():
    leak = Control(equal=False, compared="", first="prefill, mlp")
    found = judge_evidence(replace(RUN, controls={**HELD, "neighbours": leak}))
    assert found.outcome == "a row's bits depend on what its neighbours hold, first in prefill, mlp"


def test_equal_logits_name_the_kernels_that_changed_for_nothing(tmp_path):
    plain = replace(diff(tmp_path), rows=(SAME, TILE), evidence=replace(RUN, logits={"prefill": EQUAL}))
    assert judge(plain).outcome == "logits are bit-identical, though 1 of 2 modules run different kernels"
    assert judge(replace(plain, rows=(SAME,))).outcome == "logits are bit-identical"
