"""vLLM 0.20.0 on an H100, recorded by `tracediff record`: eager, CUDA graphs, and its switch for invariance."""

from collections import Counter
from pathlib import Path

import pytest

from tracediff.diff import Verdict, diff_tables
from tracediff.diff.pair_steps import between_traces
from tracediff.trace import read_trace

PROFILES = Path(__file__).parents[2] / "profiles" / "vllm"
BLOCKS = 8


def table(name, requests):
    return read_trace(PROFILES / f"{name}-b{requests}.sqlite")


def products(name):
    """Return (phase, reason) of the products of the model's steps at 1 request against 8, by verdict."""
    rows = diff_tables(table(name, 1), table(name, 8)).rows
    found = {verdict: Counter() for verdict in Verdict}
    for row in rows:
        multiplies = any(kernel.parsed.role == "gemm" for kernel in row.a)
        if str(row.phase).startswith("LlamaForCausalLM") and row.module and multiplies:
            found[row.verdict][row.phase, row.reason] += 1
    return found


@pytest.mark.parametrize("name", ["eager", "graphs"])
def test_down_proj_of_every_block_loses_its_split_in_the_prefill_and_nothing_else_changes(name):
    found = products(name)
    prefill = "LlamaForCausalLM[0]"
    assert found[Verdict.ORDER_CHANGED] == {(prefill, "split-K 4 → 1"): BLOCKS}
    assert not found[Verdict.UNKNOWN]
    # qkv_proj, o_proj and gate_up_proj; with graphs the first block's qkv_proj stands before the first block.
    assert sum(found[Verdict.SAME_ORDER].values()) in (3 * BLOCKS, 3 * BLOCKS - 1)
    assert {phase for phase, _ in found[Verdict.SAME_ORDER]} == {prefill}
    assert prefill not in {phase for phase, _ in found[Verdict.SAME_KERNELS]}


def test_with_the_switch_no_product_changes_its_order():
    found = products("graphs-invariant")
    assert not found[Verdict.ORDER_CHANGED]
    triton = table("graphs-invariant", 8)
    used = {triton.names[code] for code in triton.name.tolist() if triton.parsed[code].role == "gemm"}
    assert used == {"matmul_kernel_persistent"}


@pytest.mark.parametrize("name", ["eager", "graphs", "graphs-invariant"])
def test_steps_have_the_number_of_tokens_as_their_shape(name):
    eight = table(name, 8)
    assert {"8", "320"} <= {str(shape) for shape in eight.shapes}
    assert not {"8x128256", "8x2048"} & {str(shape) for shape in eight.shapes}


def test_eager_kernels_stand_in_the_modules_of_the_model():
    eager = table("eager", 1)
    of_model = [key for key in eager.keys if key.phase == "LlamaForCausalLM"]
    assert {key.layer for key in of_model} - {None} == set(range(BLOCKS))
    assert {key.module.rpartition(".")[2] for key in of_model} >= {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def served(name, one, eight):
    """Compare steps of one shape of `vllm serve` with those of another."""
    table = read_trace(PROFILES / f"serve-{name}.sqlite")
    return diff_tables(*between_traces(table, table, (one, eight)))


def of_blocks(diff):
    """Return (phase, verdict, reason) of the blocks' products, counted."""
    return Counter(
        (row.phase, row.verdict, row.reason)
        for row in diff.rows
        if row.layer is not None and any(kernel.parsed.role == "gemm" for kernel in row.a)
    )


PREFILL = {
    ("LlamaForCausalLM", Verdict.SAME_ORDER, "tile only, unsplit, same k-step"): 3 * BLOCKS,
    ("LlamaForCausalLM", Verdict.ORDER_CHANGED, "split-K 4 → 1"): BLOCKS,
}
DECODE = {("LlamaForCausalLM", Verdict.SAME_KERNELS, "same kernel, same launch"): 4 * BLOCKS}


@pytest.mark.parametrize("name", ["eager", "graphs"])
def test_a_server_of_several_processes_has_the_same_products_in_the_same_layers(name):
    # Eight requests at once: vLLM computed the prompt of the first, then those of the others with its first new token.
    assert of_blocks(served(name, "40", "281")) == PREFILL


@pytest.mark.parametrize(("one", "eight", "expected"), [("40", "242", PREFILL), ("1", "8", DECODE)])
def test_an_engine_in_a_process_of_its_own_has_the_verdicts_of_one_process(one, eight, expected):
    """LLM(…) whose engine is spawned: its eight prompts came as 80 tokens and 242."""
    alone, several = table("graphs", 1), table("spawn-graphs", 8)
    assert of_blocks(diff_tables(*between_traces(alone, several, (one, eight)))) == expected


def test_a_servers_replayed_decode_steps_have_layers_and_change_no_product():
    assert of_blocks(served("graphs", "1", "8")) == DECODE


@pytest.mark.parametrize("name", ["eager", "graphs"])
def test_a_servers_products_and_attentions_are_in_layers(name):
    trace = read_trace(PROFILES / f"serve-{name}.sqlite")
    roles = [trace.parsed[code].role for code in trace.name.tolist()]
    keys = [trace.keys[code] for code in trace.key.tolist()]
    computing = [key for key, role in zip(keys, roles, strict=True) if role in ("gemm", "attention")]
    assert sum(key.layer is not None for key in computing) / len(computing) >= 0.95
