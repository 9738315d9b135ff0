"""A capture's prefill and decode steps, and a recorded program's steps of the same modules."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from tests.diff.tables import table
from tracediff.diff import Verdict, diff_tables
from tracediff.diff.pair_steps import between_traces, pair_steps
from tracediff.trace import read_trace
from tracediff.trace.shape import Shape

PROFILES = Path(__file__).parents[2] / "profiles" / "record"
GEMM = "nvjet_hsh_64x8_64x16_4x1_v_bz_TNT"
MODULES = ("layers.0.q", "layers.0.o", "layers.1.q")


def captured(decode, **info):
    """A capture of a prefill and some decode steps."""
    phases = ["prefill", *(f"decode[{number}]" for number in range(decode))]
    return table([("run", "", "k"), *((phase, module, GEMM) for phase in phases for module in MODULES)], **info)


def recorded(*shapes, root="Net", modules=MODULES, beside=()):
    """A recording of steps of some shapes, batch and tokens; batch 0 where all requests' tokens lie end to end."""
    kernels = [(root, module, GEMM) for _ in shapes for module in modules]
    iteration = [number for number, _ in enumerate(shapes) for _ in modules]
    made = table([*kernels, *beside], iteration=[*iteration, *(0 for _ in beside)])
    distinct = sorted({Shape(*shape) for shape in shapes})
    codes = [distinct.index(shape) for shape in shapes for _ in modules] + [-1] * len(beside)
    return replace(made, shapes=tuple(distinct), shape=np.array(codes, dtype=np.int32))


def phases(of):
    return [f"{of.keys[key].phase} {ran}" for key, ran in zip(of.key.tolist(), of.iteration.tolist(), strict=True)][
        :: len(MODULES)
    ]


TWICE = ((2, 20), (2, 1), (2, 1), (2, 20), (2, 1), (2, 1))
AS_PHASES = ["prefill 0", "decode[0] 0", "decode[1] 0", "prefill 1", "decode[0] 1", "decode[1] 1"]


@pytest.mark.parametrize("info", [{}, {"batch": 2, "tokens": 20}, {"batch": 1, "tokens": 20}])
def test_steps_of_many_tokens_are_the_prefill_and_those_of_one_per_row_decode_steps_counted_from_it(info):
    a, b = captured(2, **info), recorded(*TWICE)
    kept, named = pair_steps(a, b)
    assert kept is a
    assert phases(named) == AS_PHASES
    assert named.notes == ("steps compared as phases of the other trace: Net of 2x20 as prefill, of 2x1 as decode",)
    rows = [row for row in diff_tables(a, b).rows if row.phase != "run"]
    assert {(row.phase, row.verdict) for row in rows} == {
        (phase, Verdict.SAME_KERNELS) for phase in ("prefill", "decode[0]", "decode[1]")
    }
    assert all(len(row.a) == len(row.b) == 1 for row in rows)


def test_the_recording_may_come_first():
    named, kept = pair_steps(recorded(*TWICE), captured(2))
    assert phases(named) == AS_PHASES
    assert kept.notes == ()


def test_of_several_shapes_the_one_that_was_captured_is_taken():
    steps = ((1, 20), (1, 1), (2, 20), (2, 1), (1, 7), (1, 1))
    _, named = pair_steps(captured(1, batch=2, tokens=20), recorded(*steps))
    assert phases(named) == ["Net 0", "Net 1", "prefill 0", "decode[0] 0", "Net 4", "Net 5"]


@pytest.mark.parametrize(
    ("steps", "info", "told"),
    [
        (((1, 20), (1, 1), (8, 20), (8, 1)), {}, "1x20, 8x20"),
        (((1, 20), (1, 1), (8, 20), (8, 1)), {"batch": 4, "tokens": 20}, "1x20, 8x20"),
        (((1, 20), (1, 7), (1, 1)), {"batch": 1, "tokens": 9}, "1x20, 1x7"),
        (((0, 40), (0, 8), (0, 5)), {}, "8, 5"),
    ],
)
def test_where_several_shapes_fit_none_is_taken_and_a_note_says_how_to_choose(steps, info, told):
    b = recorded(*steps)
    _, named = pair_steps(captured(1, **info), b)
    assert (named.keys, phases(named)) == (b.keys, phases(b))
    (note,) = named.notes
    assert note.startswith(f"Net is not compared with prefill and decode: it has steps of {told}; --between")


def test_tokens_that_lie_end_to_end_are_counted_over_all_rows():
    _, named = pair_steps(captured(1, batch=8, tokens=5), recorded((0, 40), (0, 8), (0, 3), (0, 8)))
    assert phases(named) == ["prefill 0", "decode[0] 0", "Net 2", "Net 3"]
    _, named = pair_steps(captured(1), recorded((0, 320), (0, 8)))
    assert phases(named) == ["prefill 0", "decode[0] 0"]


def test_decode_steps_beyond_those_that_were_captured_stay_executions_of_the_root():
    _, named = pair_steps(captured(1), recorded((1, 20), (1, 1), (1, 1), (1, 1), (1, 20), (1, 1)))
    assert phases(named) == ["prefill 0", "decode[0] 0", "Net 2", "Net 3", "prefill 1", "decode[0] 1"]


def test_decode_steps_before_any_prefill_are_not_counted():
    _, named = pair_steps(captured(1), recorded((1, 1), (1, 20), (1, 1)))
    assert phases(named) == ["Net 0", "prefill 0", "decode[0] 0"]


def test_a_root_of_other_modules_is_not_taken():
    b = recorded((1, 20), (1, 1), modules=("layers.0.q", "vision.0.x", "vision.1.x"))
    assert pair_steps(captured(1), b)[1] is b


def test_two_roots_of_the_same_modules_are_told_and_not_taken():
    more = recorded((1, 20), (1, 1), beside=[("Draft", module, GEMM) for module in MODULES])
    both = replace(more, shape=np.where(more.shape < 0, 0, more.shape))
    _, named = pair_steps(captured(1), both)
    assert named.keys == both.keys
    assert named.notes == ("not compared with prefill and decode: Net, Draft run the same modules",)


def test_two_captures_and_two_recordings_stay_as_they_are():
    a, b = captured(1), captured(2)
    assert pair_steps(a, b) == (a, b)
    one, other = recorded((1, 20), (1, 1)), recorded((1, 20), (1, 1))
    assert [each is given for each, given in zip(pair_steps(one, other), (one, other), strict=True)] == [True, True]


@pytest.mark.parametrize("turned", [False, True])
def test_a_capture_and_a_recording_of_one_model_are_compared_module_by_module(turned):
    paths = PROFILES / "capture-b1.sqlite", PROFILES / "generate-b1.sqlite"
    a, b = map(read_trace, reversed(paths) if turned else paths)
    rows = [row for row in diff_tables(a, b).rows if row.phase is not None and row.phase not in ("run", "generate")]
    assert {row.phase for row in rows} == {"prefill", "decode[0]", "decode[1]", "decode[2]"}
    assert all(row.a and row.b for row in rows)
    # The recorded program also makes an attention mask: a reduction directly under `model`.
    assert {row.module for row in rows if row.verdict is Verdict.UNKNOWN} == {"model"}
    assert len(rows) == 4 * 57


def test_a_servers_steps_of_several_shapes_are_not_taken_for_a_prefill():
    captured_one, server = read_trace(PROFILES / "capture-b1.sqlite"), read_trace(PROFILES / "serve-graphs.sqlite")
    _, named = pair_steps(captured_one, server)
    assert named.notes[-1].startswith("LlamaForCausalLM is not compared with prefill and decode: it has steps of")


def test_a_smaller_model_of_the_family_is_not_taken():
    larger = (*MODULES, "layers.2.q")
    b = recorded((1, 20), (1, 1), modules=larger)
    assert pair_steps(captured(1), b)[1] is b
    more_in_a_layer = recorded((1, 20), (1, 1), modules=(*MODULES, "layers.1.o"))
    assert pair_steps(captured(1), more_in_a_layer)[1].notes


@pytest.mark.parametrize(
    ("shapes", "info", "named"),
    [
        # A prompt of 712 tokens in two parts: the second is no decode step.
        (((0, 512), (0, 200)), {}, ["prefill 0", "Net 1"]),
        (((0, 512), (0, 256)), {"batch": 1, "tokens": 20}, ["prefill 0", "Net 1"]),
        # The same prompt as the capture's, of more requests.
        (((0, 160), (0, 8)), {"batch": 1, "tokens": 20}, ["prefill 0", "decode[0] 0"]),
        (((0, 160), (0, 8)), {"batch": 1, "tokens": 40}, ["prefill 0", "Net 1"]),
    ],
)
def test_a_step_of_tokens_that_lie_end_to_end_is_a_decode_step_where_the_prefill_is_of_as_many_prompts(
    shapes, info, named
):
    assert phases(pair_steps(captured(1, **info), recorded(*shapes))[1]) == named


def test_steps_are_counted_in_each_process():
    b = recorded(*TWICE)
    half = len(b) // 2
    two = replace(b, process=np.arange(len(b), dtype=np.int32) // half, iteration=b.iteration % 3)
    interleaved = replace(two, process=two.process[::-1].copy())
    for each in (two, interleaved):
        named = pair_steps(captured(2), each)[1]
        assert phases(named) == ["prefill 0", "decode[0] 0", "decode[1] 0"] * 2


def test_a_prompt_of_another_length_is_told():
    result = diff_tables(captured(1, batch=1, tokens=20), recorded((2, 33), (2, 1)))
    assert "The traces are of different prompt lengths: 20 and 33." in result.warnings
    assert (result.b.info.batch, result.b.info.tokens) == (2, 33)


SERVED = ((1, 20), (1, 1), (1, 1), (8, 20), (8, 1), (1, 7), (1, 1))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs", "named"),
    [
        ("1x1", "1x1", ["decode[0] 0", "decode[1] 0", "decode[0] 1"]),
        ("1x1", "8x1", ["decode[0] 0"]),
        ("1x20", "8x20", ["prefill 0"]),
        ("1x20", "1x7", ["prefill 0"]),
    ],
)
def test_shapes_that_the_user_chose_are_compared_as_phases(ours, theirs, named, turned):
    traces, shapes = (captured(2, batch=1, tokens=20), recorded(*SERVED)), (ours, theirs)
    if turned:
        traces, shapes = traces[::-1], shapes[::-1]
    chosen = between_traces(*traces, shapes)
    assert phases(chosen[0 if turned else 1]) == named
    rows = diff_tables(*chosen).rows
    both = [row.phase for row in rows if row.a and row.b]
    assert set(both) == {name.split()[0] for name in named}
    assert len(both) == len(set(both)) * len(MODULES)


def test_a_chosen_number_of_tokens_is_counted_from_a_prefill_of_as_many_prompts():
    b = recorded((0, 320), (0, 8), (0, 8), (0, 39), (0, 8))
    _, named = between_traces(captured(2, batch=8, tokens=20), b, ("8x1", "8"))
    assert phases(named) == ["decode[0] 0", "decode[1] 0", "Net 4"]


def test_no_prompt_length_is_told_of_decode_steps():
    a, b = between_traces(captured(2, batch=1, tokens=20), recorded(*SERVED), ("1x1", "1x1"))
    assert not [warning for warning in diff_tables(a, b).warnings if "prompt" in warning]


def test_the_decode_steps_of_a_recorded_program_are_compared_with_a_captures_by_shape():
    a, b = read_trace(PROFILES / "capture-b1.sqlite"), read_trace(PROFILES / "generate-b1.sqlite")
    a = replace(a, info=replace(a.info, batch=1, tokens=20))
    rows = [row for row in diff_tables(*between_traces(a, b, ("1x1", "1x1"))).rows if row.phase != "generate"]
    assert {row.phase for row in rows} == {"decode[0]", "decode[1]", "decode[2]"}
    assert all(row.a and row.b for row in rows)
    assert len(rows) == 3 * 57
