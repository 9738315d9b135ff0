"""Recordings of other programs on an H100, against `tracediff capture` of the same model and against themselves."""

import re
from pathlib import Path

import pytest

from tracediff.diff import Verdict, diff_tables
from tracediff.diff.answer import answer
from tracediff.diff.judgement import Judgement
from tracediff.diff.pair_steps import between_traces
from tracediff.trace import read_trace

PROFILES = Path(__file__).parents[2] / "profiles" / "record"
BLOCKS = 4
PROJECTION = re.compile(r"model\.layers\.\d\.(?:self_attn|mlp)\.\w+_proj")


def products(table, phase, iteration):
    """Return (name, grid, algorithm as logged) of the products of each projection in one execution of a phase."""
    found = {}
    for row, (key, name, ran) in enumerate(zip(table.key, table.name, table.iteration, strict=True)):
        place, is_product = table.keys[key], table.parsed[name].role == "gemm"
        if is_product and (place.phase, int(ran)) == (phase, iteration) and PROJECTION.fullmatch(place.module):
            line = table.algorithms[table.algorithm[row]] if table.algorithm[row] >= 0 else ""
            algorithm = re.search(r"algo=\[[^\]]*\]", line)
            launch = (table.names[name], table.grid[row].tolist(), algorithm and algorithm[0])
            found.setdefault(place.module, []).append(launch)
    return found


@pytest.fixture(scope="module")
def generated():
    return read_trace(PROFILES / "generate-b1.sqlite")


def test_a_recorded_program_has_the_products_of_the_captured_model_in_the_same_modules(generated):
    captured = read_trace(PROFILES / "capture-b1.sqlite")
    # Two runs to warm up, then the third: a prefill and three decode steps.
    for iteration, phase in ((8, "prefill"), (9, "decode[0]"), (10, "decode[1]"), (11, "decode[2]")):
        expected = products(captured, phase, 0)
        assert len(expected) == 7 * BLOCKS
        assert all(algorithm for launches in expected.values() for _, _, algorithm in launches)
        assert products(generated, "LlamaForCausalLM", iteration) == expected


def test_nearly_all_kernels_of_the_steps_are_in_modules(generated):
    steps = [generated.keys[code] for code in generated.key.tolist()]
    of_model = [key for key in steps if key.phase == "LlamaForCausalLM"]
    assert sum(bool(key.module) for key in of_model) / len(of_model) >= 0.95


@pytest.mark.parametrize("shapes", [("1x20", "1x1"), ("1x1", "1x20")])
def test_steps_that_the_user_chose_are_judged_whatever_their_numbers_of_tokens(generated, shapes):
    compared = diff_tables(*between_traces(generated, generated, shapes))
    assert [side.info.shape for side in (compared.a, compared.b)] == list(shapes)
    found = answer(compared)
    assert found.judgement is Judgement.EXPECTED
    assert found.outcome.startswith("bits can differ")
    assert not [warning for warning in compared.warnings if "prompt" in warning]


def test_one_trace_of_a_server_answers_the_question_of_batch_size():
    table = read_trace(PROFILES / "serve-graphs.sqlite")
    assert {str(shape) for shape in table.shapes} == {"1x32", "2x32", "4x32", "8x32"}
    rows = diff_tables(*between_traces(table, table, ("1x32", "8x32"))).rows
    changed = [row.module for row in rows if row.verdict is Verdict.ORDER_CHANGED]
    assert changed == [f"model.layers.{block}.mlp.down_proj" for block in range(BLOCKS)]
