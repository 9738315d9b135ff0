"""Evidence beside the traces is found, put in place, and said in words."""

import json

import pytest

from tests.diff.rules.make import kernel, nvjet
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.result import Row, Side, TraceDiff, Verdict
from tracediff.diff.summary import summarise
from tracediff.diff.verdict import judge_row
from tracediff.measured import Bits, State
from tracediff.trace.table import Coverage, TraceInfo

CLEAN = {"equal": True, "compared": "", "first": None, "share": 0.0, "max_ulp": 0}
FAILED = {"equal": False, "compared": "", "first": "prefill", "share": 0.5, "max_ulp": 3}


def side(path, batch):
    coverage = Coverage(kernels=1, in_module=1, in_phase_only=0, outside_ranges=0, no_launch=0)
    info = TraceInfo(path=str(path), profiler="nsys", batch=batch, model="llama-3-8b", dtype="float16")
    return Side(info=info, coverage=coverage, kernels=1, splitk_reduce=0, duration_ns=1, notes=())


def row(module, a, b, layer=0):
    pairs, verdict, reason = judge_row([(a, b)])
    return Row(phase="prefill", layer=layer, module=module, a=(a,), b=(b,), pairs=pairs, verdict=verdict, reason=reason)


def diff(directory, batches=(1, 2)):
    block = "model.layers.0"
    rows = (
        row(f"{block}.self_attn.q_proj", nvjet(3), nvjet(2)),
        row(f"{block}.mlp.up_proj", nvjet(1), nvjet(1, tile=(128, 16, 64))),
        row(f"{block}.mlp.act_fn", kernel("e", role="elementwise"), kernel("e", role="elementwise")),
    )
    return TraceDiff(
        a=side(directory / "b1.sqlite", batches[0]), b=side(directory / "b2.sqlite", batches[1]), rows=rows
    )


def stored(**changes):
    block = "model.layers.0"
    controls = dict.fromkeys(("run_to_run", "neighbours", "position", "profiler"), CLEAN)
    pair = {
        "batches": [1, 2],
        "logits": {"prefill": [0.25, 7]},
        "tokens": {"prefill": [11, 12]},
        "modules": {
            "prefill": {
                f"{block}.self_attn.q_proj": [[0.5, 3], [0.5, 3]],
                f"{block}.mlp.up_proj": [True, [0.125, 2]],
            }
        },
        "first_origin": ["prefill", f"{block}.self_attn.q_proj"],
        "repair": {"minimal": ["q_proj"], "logits_equal": True, "complement_logits_equal": False, "tried": 3},
    }
    evidence = {
        "schema": 1,
        "model": "llama-3-8b",
        "dtype": "float16",
        "tokens": 6,
        "batches": [1, 2],
        "phases": ["prefill"],
        "pairs": [pair],
        "notes": [],
        "controls": controls,
    }
    return {**evidence, **changes}


def attached(directory, evidence, batches=(1, 2)):
    (directory / "evidence.json").write_text(json.dumps(evidence))
    return attach_evidence(diff(directory, batches))


def words(found):
    return " ".join(summarise(found))


def test_without_a_file_there_is_no_evidence_and_no_warning(tmp_path):
    plain = diff(tmp_path)
    assert attach_evidence(plain) == plain
    assert "No bits were measured" in words(plain)


def test_each_row_gets_its_bits_and_its_state(tmp_path):
    rows = attached(tmp_path, stored()).rows
    assert [each.state for each in rows] == [State.ORIGIN, State.PROPAGATED, None]
    assert rows[0].evidence.isolated == Bits(equal=False, share=0.5, max_ulp=3)
    assert rows[1].evidence.isolated == Bits(equal=True)


def test_the_run_gets_logits_tokens_repair_and_controls(tmp_path):
    evidence = attached(tmp_path, stored()).evidence
    assert evidence.logits == {"prefill": Bits(equal=False, share=0.25, max_ulp=7)}
    assert evidence.tokens == {"prefill": (11, 12)}
    assert evidence.first_origin == ("prefill", "model.layers.0.self_attn.q_proj")
    assert evidence.repair.minimal == ("q_proj",)


def test_traces_given_the_other_way_round_swap_the_tokens(tmp_path):
    evidence = attached(tmp_path, stored(), batches=(2, 1)).evidence
    assert evidence.tokens["prefill"] == (12, 11)
    assert evidence.batches == (2, 1)


def test_batch_sizes_that_were_not_measured_have_no_evidence(tmp_path):
    assert attached(tmp_path, stored(), batches=(2, 8)).evidence is None


@pytest.mark.parametrize(
    "broken", [{"schema": 7}, {"dtype": "bfloat16"}, {"pairs": 3}, {"controls": None, "pairs": [{"batches": [1, 2]}]}]
)
def test_evidence_that_does_not_fit_is_a_warning(tmp_path, broken):
    found = attached(tmp_path, stored(**broken))
    assert found.evidence is None
    assert len(found.warnings) == 1
    assert "evidence.json" in found.warnings[0]


def test_a_file_that_is_no_json_is_a_warning(tmp_path):
    (tmp_path / "evidence.json").write_bytes(b"\xff{")
    assert len(attach_evidence(diff(tmp_path)).warnings) == 1


def test_the_words_say_what_changed_what_mattered_and_what_repairs_it(tmp_path):
    text = words(attached(tmp_path, stored()))
    for part in (
        "In prefill, 1 of 2 projections runs another kernel in every block; "
        "1 of 2 sums in another order (q_proj: split-K 3 → 2).",
        "Given equal inputs, 1 of 2 modules give other bits",
        "The first is model.layers.0.self_attn.q_proj in prefill.",
        "1 more only pass a difference on.",
        "The logits differ in prefill; another token is chosen in prefill.",
        "Computing q_proj row by row makes the logits bit-identical; computing all others so does not.",
        "Nothing here looks like a bug",
    ):
        assert part in text


def test_a_contradicted_prediction_is_said_loudly(tmp_path):
    evidence = stored()
    evidence["pairs"][0]["modules"]["prefill"]["model.layers.0.mlp.up_proj"] = [[0.1, 1], [0.1, 1]]
    found = attached(tmp_path, evidence)
    assert [each.module for each in found.rows if each.contradicted] == ["model.layers.0.mlp.up_proj"]
    assert "PREDICTION CONTRADICTED in 1 module" in words(found)
    assert "This needs a look" in words(found)


@pytest.mark.parametrize(
    ("control", "loud", "judgement"),
    [
        ("neighbours", "LEAK", "looks like a bug: data leaks"),
        ("run_to_run", "THE SAME RUN TWICE", "nondeterministic kernel"),
        ("position", "position in the batch", "needs a look"),
        ("profiler", "profiler changes bits", "needs a look"),
    ],
)
def test_a_failed_control_is_said_and_changes_the_judgement(tmp_path, control, loud, judgement):
    evidence = stored()
    evidence["controls"][control] = FAILED
    text = words(attached(tmp_path, evidence))
    assert loud.lower() in text.lower()
    assert judgement in text
    assert "Nothing here looks like a bug" not in text


def test_controls_that_were_not_measured_leave_the_judgement_open(tmp_path):
    assert "cannot be said" in words(attached(tmp_path, stored(controls={})))


def test_equal_traces_are_said_to_be_equal(tmp_path):
    plain = diff(tmp_path)
    same = TraceDiff(a=plain.a, b=plain.b, rows=plain.rows[2:])
    assert words(same).startswith("In prefill, both traces launch the same kernels in the same way in every module.")
    assert words(TraceDiff(a=plain.a, b=plain.b, rows=())) == "Neither trace holds a kernel to compare."


def test_an_order_that_changed_without_changing_bits_is_no_contradiction(tmp_path):
    evidence = stored()
    evidence["pairs"][0]["modules"]["prefill"]["model.layers.0.self_attn.q_proj"] = [True, True]
    found = attached(tmp_path, evidence)
    assert found.rows[0].verdict is Verdict.ORDER_CHANGED
    assert not any(each.contradicted for each in found.rows)
    assert "In 1 module the order changed and the bits came out equal." in words(found)
