"""Evidence beside the traces is found, put in place, and said in words."""

import json

import pytest

from tests.changed import replace
from tests.diff.rules.make import kernel, nvjet
from tracediff.diff.answer import answer
from tracediff.diff.compared import Executions
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.result import Row, Side, TraceDiff
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


def test_without_a_file_there_is_no_evidence_and_no_warning(tmp_path):
    plain = diff(tmp_path)
    assert attach_evidence(plain) == plain
    assert not answer(plain).measured


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
    ("broken", "warning"),
    [
        ({"schema": 7}, "cannot be used: it has schema 7, this version reads 1 and 2."),
        ({"dtype": "bfloat16"}, "is of dtype bfloat16, the traces of float16; it is not used."),
        ({"model": "x" * 100}, f"is of model {'x' * 39}…{'x' * 20}, the traces of llama-3-8b; it is not used."),
        ({"pairs": 3}, "cannot be used: Expected `array`, got `int` - at `$.pairs`."),
        (
            {"controls": None, "pairs": [{"batches": [1, 2]}]},
            "cannot be used: Object missing required field `logits` - at `$.pairs[0]`.",
        ),
    ],
)
def test_evidence_that_does_not_fit_is_a_warning(tmp_path, broken, warning):
    found = attached(tmp_path, stored(**broken))
    assert found.evidence is None
    assert [each.replace(" beside the traces", "") for each in found.warnings] == [f"evidence.json {warning}"]


def test_a_file_that_is_no_json_is_a_warning(tmp_path):
    (tmp_path / "evidence.json").write_bytes(b"\xff{")
    assert len(attach_evidence(diff(tmp_path)).warnings) == 1


def decode_steps(*isolated, module="model.layers.0.self_attn.q_proj"):
    """Return stored modules, by step, of one module whose outputs on equal inputs are as given (None: not measured)."""
    return {f"decode[{step}]": {} if bits is None else {module: [bits, bits]} for step, bits in enumerate(isolated)}


@pytest.mark.parametrize(
    ("isolated", "state", "worst"),
    [
        ((True, [0.25, 3], True), State.ORIGIN, Bits(equal=False, share=0.25, max_ulp=3)),
        ((None, [0.25, 3], [0.5, 1]), State.ORIGIN, Bits(equal=False, share=0.5, max_ulp=3)),
        (([0.25, None], [0.5, 1], True), State.ORIGIN, Bits(equal=False, share=0.5, max_ulp=None)),
        ((True, True, True), State.CLEAN, Bits(equal=True)),
        ((True, None, True), None, None),
    ],
)
def test_steps_that_are_one_row_have_the_worst_of_what_was_measured_in_each(tmp_path, isolated, state, worst):
    evidence = stored()
    evidence["pairs"][0]["modules"] |= decode_steps(*isolated)
    evidence["phases"] += [f"decode[{step}]" for step in range(3)]
    (tmp_path / "evidence.json").write_text(json.dumps(evidence))
    folded = Executions(phase="decode[0–2]", texts=("decode[0]", "decode[1]", "decode[2]"), durations_ns=(1, 1, 1))
    plain = diff(tmp_path)
    rows = (*plain.rows, replace(plain.rows[0], phase="decode[0–2]"))
    measured = attach_evidence(replace(plain, a=replace(plain.a, executions=(folded,)), rows=rows)).rows[-1].evidence
    assert (measured.state, measured.isolated) == (state, worst)
