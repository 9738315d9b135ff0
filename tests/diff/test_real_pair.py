"""What a person checked in the real H200 captures: Llama-3-8B's geometry, a prompt of 6 tokens, batch 1, 2 and 8."""

from collections import Counter

import pytest

from tests.profiles import BFLOAT16, FLOAT16, FLOAT32
from tracediff.diff import Verdict, diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.measured import State
from tracediff.trace import read_trace

PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
LAYERS = range(32)


def compared(folder, a, b, phase="prefill"):
    tables = [read_trace(folder / f"b{batch}.sqlite") for batch in (a, b)]
    return attach_evidence(diff_tables(*tables, [phase]))


def projection_rows(diff):
    """Return {projection: [its row in each layer]}."""
    return {
        name: [next(row for row in diff.rows if row.module == f"model.layers.{layer}.{name}") for layer in LAYERS]
        for name in PROJECTIONS
    }


@pytest.fixture(scope="module")
def float16():
    return compared(FLOAT16, 1, 2)


def test_float16_every_projection_of_every_block_runs_another_kernel(float16):
    assert all(row.names_differ for rows in projection_rows(float16).values() for row in rows)


def test_float16_only_q_proj_and_o_proj_sum_in_another_order(float16):
    split = {name: {row.split_k for row in rows} for name, rows in projection_rows(float16).items()}
    assert split == {
        "self_attn.q_proj": {(3, 2)},
        "self_attn.k_proj": {(3, 3)},
        "self_attn.v_proj": {(3, 3)},
        "self_attn.o_proj": {(3, 2)},
        "mlp.gate_proj": {(1, 1)},
        "mlp.up_proj": {(1, 1)},
        "mlp.down_proj": {(4, 4)},
    }
    verdicts = {name: {row.verdict for row in rows} for name, rows in projection_rows(float16).items()}
    changed = {Verdict.ORDER_CHANGED}
    assert {name for name, seen in verdicts.items() if seen == changed} == {"self_attn.q_proj", "self_attn.o_proj"}
    others = [seen for name, seen in verdicts.items() if name not in {"self_attn.q_proj", "self_attn.o_proj"}]
    assert others == [{Verdict.SAME_ORDER}] * 5


def test_float16_the_split_k_factor_comes_from_the_log_that_cublaslt_wrote(float16):
    sources = Counter(
        kernel.split_k_source
        for rows in projection_rows(float16).values()
        for row in rows
        for kernel in (*row.a, *row.b)
        if kernel.parsed.role == "gemm"
    )
    assert sources == {"log": 2 * 7 * 32}


def test_float16_counting_split_k_reductions_sees_nothing(float16):
    per_layer = {
        layer: tuple(sum(row.splitk_reduce[side] for row in float16.rows if row.layer == layer) for side in (0, 1))
        for layer in LAYERS
    }
    assert set(per_layer.values()) == {(5, 5)}


def test_float16_the_tiles_are_those_that_the_names_state(float16):
    tiles = {
        name: {(row.a[0].parsed.tile, row.b[0].parsed.tile) for row in rows}
        for name, rows in projection_rows(float16).items()
    }
    assert tiles["self_attn.q_proj"] == {((128, 8, 64), (64, 16, 64))}
    assert tiles["mlp.gate_proj"] == {((128, 8, 64), (128, 16, 64))}


def test_float16_attention_keeps_its_kernel_with_another_grid(float16):
    for layer in LAYERS:
        row = next(row for row in float16.rows if row.module == f"model.layers.{layer}.self_attn")
        a, b = ([kernel for kernel in side if kernel.parsed.role == "attention"] for side in (row.a, row.b))
        assert [kernel.parsed.name for kernel in a] == [kernel.parsed.name for kernel in b]
        assert len(a) == 1
        assert (a[0].grid, b[0].grid) == ((32, 1, 1), (64, 1, 1))


def test_float16_no_kernel_of_a_forward_is_lost(float16):
    for side in (float16.a, float16.b):
        coverage = side.coverage
        parts = coverage.in_module + coverage.in_phase_only + coverage.outside_ranges + coverage.no_launch
        assert parts == coverage.kernels == 4385
        assert coverage.no_launch == coverage.outside_ranges == 0


def test_float16_decode_steps_run_the_same_projections_at_batch_1_and_2():
    diff = compared(FLOAT16, 1, 2, "decode[0]")
    assert not any(row.names_differ for rows in projection_rows(diff).values() for row in rows)


def test_float16_at_batch_8_the_decode_steps_change_down_proj():
    diff = compared(FLOAT16, 1, 8, "decode[0]")
    assert {row.split_k for row in projection_rows(diff)["mlp.down_proj"]} == {(4, 6)}


def test_traces_of_one_machine_are_compared_without_a_warning(float16):
    assert float16.warnings == ()
    assert (float16.a.info.batch, float16.b.info.batch) == (1, 2)


@pytest.mark.parametrize("folder", [FLOAT16, BFLOAT16, FLOAT32], ids=lambda folder: folder.name)
@pytest.mark.parametrize("batch", [2, 8])
def test_no_prediction_of_equal_bits_is_contradicted_by_what_was_measured(folder, batch):
    for phase in ("prefill", "decode[0]", "decode[1]"):
        promised = [row for row in compared(folder, 1, batch, phase).rows if row.evidence is not None]
        promised = [row for row in promised if row.verdict in {Verdict.SAME_KERNELS, Verdict.SAME_ORDER}]
        assert promised
        differing = [row.module for row in promised if row.bits_equal is False]
        assert differing == []


def test_float16_the_two_projections_with_another_order_give_other_bits_and_the_five_others_do_not(float16):
    equal = {name: {row.bits_equal for row in rows} for name, rows in projection_rows(float16).items()}
    origins = {"self_attn.q_proj", "self_attn.o_proj"}
    assert equal == {name: {name not in origins} for name in PROJECTIONS}


def test_bfloat16_every_projection_runs_another_kernel_and_no_bit_changes():
    diff = compared(BFLOAT16, 1, 2)
    assert all(row.names_differ for rows in projection_rows(diff).values() for row in rows)
    assert {row.verdict for rows in projection_rows(diff).values() for row in rows} == {Verdict.SAME_ORDER}
    assert {row.state for row in diff.rows if row.evidence} == {State.CLEAN}
    assert all(bits.equal for bits in diff.evidence.logits.values())


def test_float32_changes_family_from_small_n_gemm_to_xmma():
    diff = compared(FLOAT32, 1, 2)
    for rows in projection_rows(diff).values():
        for row in rows:
            assert [kernel.parsed.kernel for kernel in row.a] == ["gemmSN_TN_kernel"]
            assert row.b[0].parsed.family == "xmma"
            assert row.verdict is Verdict.ORDER_CHANGED


def test_float32_q_k_v_and_o_proj_gain_a_split_k_reduction():
    rows = projection_rows(compared(FLOAT32, 1, 2))
    gained = {name for name, each in rows.items() if {row.splitk_reduce for row in each} == {(0, 1)}}
    assert gained == {f"self_attn.{name}_proj" for name in "qkvo"}
