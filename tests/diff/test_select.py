"""Which iterations of a repeated phase are compared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.changed import replace
from tests.diff.tables import table
from tests.profiles import PROFILES
from tracediff.diff import diff_tables
from tracediff.diff.compared import LeftOut, NotCompared
from tracediff.diff.select import select
from tracediff.errors import TracediffError
from tracediff.trace import read_trace
from tracediff.trace.shape import Shape

GEMM = "nvjet_hsh_64x8_64x16_4x1_v_bz_TNT"
STEPS = {"long": [("step", "q", "x"), ("step", "q", "y")], "short": [("step", "q", "z")]}


def repeated(*kinds):
    kernels = [kernel for kind in kinds for kernel in STEPS[kind]]
    numbers = [number for number, kind in enumerate(kinds) for _ in STEPS[kind]]
    return table(kernels, iteration=numbers)


def compared(selection, of):
    return [(part.phase, [of.names[code] for code in of.name[part.kernels]]) for part in selection.excerpts]


def test_a_phase_that_ran_once_is_taken_whole():
    once = table([("prefill", "q", "gemm"), ("prefill", "q", "reduce")])
    (chosen,) = select([once])
    assert compared(chosen, once) == [("prefill", ["gemm", "reduce"])]
    assert chosen.notes == ()


def test_of_equal_iterations_the_last_is_taken():
    same = repeated("short", "short", "short")
    (chosen,) = select([same])
    assert [part.kernels.tolist() for part in chosen.excerpts] == [[2]]
    assert chosen.notes == ("step ran 3 times; compared: iteration 2",)


def test_each_kind_of_iteration_is_a_phase_of_its_own_where_both_traces_go_through_them_alike():
    steps = repeated("long", "short", "short")
    for chosen in select([steps, steps]):
        assert compared(chosen, steps) == [("step[0]", ["x", "y"]), ("step[2]", ["z"])]
        assert "2 kernel sequences; compared: iterations 0, 2" in chosen.notes[0]


def test_warm_up_of_one_trace_is_left_out_and_said():
    warm, steady = repeated("long", "short", "short"), repeated("short", "short")
    first, second = select([warm, steady])
    assert compared(first, warm) == compared(second, steady) == [("step", ["z"])]
    assert first.notes == ("step ran 3 times; compared: iteration 2; 1 ran other kernels and was left out",)


def test_the_shapes_of_what_is_compared_and_left_out_are_told_where_they_differ():
    shapes = {"shapes": (Shape(0, 40), Shape(0, 281), Shape(8, 1)), "shape": np.array([0, 0, 1, 1, 2], dtype=np.int32)}
    kinds = [("step", "q", "x"), ("step", "q", "y"), ("step", "q", "x"), ("step", "r", "y"), ("step", "q", "z")]
    served = replace(table(kinds, iteration=[0, 0, 1, 1, 2]), **shapes)
    short = repeated("long", "short")
    _, chosen = select([short, served])
    assert chosen.notes == (
        "step ran 3 times, with 2 kernel sequences; compared: iterations 0 (40), 2 (8x1), one of each; "
        "1 of shape 281 ran other kernels and was left out (--between compares steps of two shapes)",
    )
    (alone,) = select([replace(served, shape=np.zeros(5, dtype=np.int32))])
    assert "(40)" not in alone.notes[0]


def test_two_iterations_with_the_same_kernels_in_another_order_are_not_the_same():
    usual, swapped = [("step", "q", "x"), ("step", "q", "y")], [("step", "q", "y"), ("step", "q", "x")]
    both = table([*usual, *usual, *swapped], iteration=[0, 0, 1, 1, 2, 2])
    (chosen,) = select([both])
    assert [part.kernels.tolist() for part in chosen.excerpts] == [[2, 3], [4, 5]]


def test_a_grid_that_grows_with_the_cache_is_no_other_kind():
    growing = table([("step", "q", "x")] * 3, iteration=[0, 1, 2])
    grid = growing.grid.copy()
    grid[:, 0] = [1, 2, 3]
    (chosen,) = select([replace(growing, grid=grid)])
    assert [part.kernels.tolist() for part in chosen.excerpts] == [[2]]


def test_of_a_phase_that_never_settles_the_latest_kinds_are_compared_and_the_rest_is_counted():
    wild = table([("step", "q", f"kernel {number}") for number in range(40)], iteration=list(range(40)))
    for chosen in select([wild, wild]):
        assert compared(chosen, wild) == [(f"step[{number}]", [f"kernel {number}"]) for number in range(8, 40)]
        assert chosen.not_compared == (NotCompared(why=LeftOut.OTHER_KIND, phase="step", executions=8, kernels=8),)


def test_kernels_outside_every_range_come_last_and_by_role():
    loose = table(
        [("prefill", "q", "z"), (None, "", "add_kernel"), (None, "", GEMM), (None, "", "add_kernel"), (None, "", GEMM)]
    )
    (chosen,) = select([loose])
    assert [(part.phase, part.module, part.kernels.tolist()) for part in chosen.excerpts] == [
        ("prefill", None, [0]),
        (None, "gemm", [2, 4]),
        (None, "other", [1, 3]),
    ]
    assert chosen.not_compared == ()
    assert [(row.phase, row.module) for row in diff_tables(loose, loose).rows] == [
        ("prefill", "q"),
        (None, "gemm"),
        (None, "other"),
    ]


def test_kernels_before_the_first_range_are_set_up_and_do_not_weigh():
    warm = table([(None, "", "fill"), (None, "", "fill"), ("prefill", "q", "z"), (None, "", "x")])
    (chosen,) = select([warm])
    assert compared(chosen, warm) == [("prefill", ["z"]), (None, ["x"])]
    (left,) = chosen.not_compared
    assert left == NotCompared(why=LeftOut.SET_UP, phase=None, executions=0, kernels=2)
    assert not left.weighs


def test_without_any_range_nothing_is_set_up():
    bare = table([(None, "", "x"), (None, "", "y")])
    (chosen,) = select([bare])
    assert compared(chosen, bare) == [(None, ["x", "y"])]


def test_the_list_of_kernels_outside_is_bounded_and_what_it_leaves_out_weighs():
    loose = table([("prefill", "q", "z"), *[(None, "", GEMM)] * 700])
    (chosen,) = select([loose])
    assert [len(part.kernels) for part in chosen.excerpts] == [1, 500]
    (left,) = chosen.not_compared
    assert (left.why, left.kernels, left.weighs) == (LeftOut.OUTSIDE, 200, True)


def steps(count, kernels=(("q", "x"),), start=0):
    return [(f"decode[{number}]", *kernel) for number in range(start, start + count) for kernel in kernels]


def test_equal_steps_are_one_phase_with_the_time_of_each():
    many = table(steps(100))
    for chosen in select([many, many]):
        assert compared(chosen, many) == [("decode[0–99]", ["x"])]
        (executions,) = chosen.executions
        assert (executions.phase, executions.durations_ns) == ("decode[0–99]", (500,) * 100)
        assert executions.texts == tuple(f"decode[{number}]" for number in range(100))
        assert chosen.not_compared == ()


def test_the_result_does_not_grow_with_equal_steps():
    few, many = (diff_tables(table(steps(count)), table(steps(count))) for count in (10, 1000))
    assert len(few.rows) == len(many.rows) == 1
    assert len(few.rows[0].a) == len(many.rows[0].a) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("replay {}", "replay"),
        ("token_{}", "token"),
        ("request-{}", "request"),
        ("decode:{}", "decode"),
        ("Forward[bs=#] #{}", "Forward[bs=#]"),
        ("decode [{}]", "decode"),
        ("step: {}", "step"),
    ],
)
def test_steps_may_count_up_in_any_form(text, name):
    many = table([(text.format(number), "q", "x") for number in range(20)])
    (chosen,) = select([many])
    assert [part.phase for part in chosen.excerpts] == [f"{name}[0–19]"]


@pytest.mark.parametrize("text", ["layer {}", "layers #{}", "Block: {}", "blocks_{}", "model.layers.{}", "conv{}"])
def test_layers_and_what_numbers_name_are_no_steps(text):
    many = table([(text.format(number), "", "x") for number in range(20)])
    assert len(select([many])[0].excerpts) == 20


def test_a_step_that_differs_is_a_phase_of_its_own():
    many = table([*steps(3), ("decode[3]", "q", "y"), *steps(6, start=4)])
    for chosen in select([many, many]):
        assert compared(chosen, many) == [("decode[0–2, 4–9]", ["x"]), ("decode[3]", ["y"])]


def test_steps_that_are_equal_in_one_trace_alone_are_compared_as_they_pair():
    same, other = table(steps(6)), table([*steps(5), ("decode[5]", "q", "y")])
    first, second = select([same, other])
    assert compared(first, same) == [("decode[0–4]", ["x"]), ("decode[5]", ["x"])]
    assert compared(second, other) == [("decode[0–4]", ["x"]), ("decode[5]", ["y"])]


def test_a_kind_whose_steps_come_in_many_stretches_is_named_by_its_last():
    odd = table([(f"decode[{number}]", "q", "x" if number % 2 else "y") for number in range(12)])
    assert [part.phase for part in select([odd])[0].excerpts] == ["decode[10]", "decode[11]"]


def test_steps_that_a_program_runs_again_with_other_kernels_keep_their_rows_apart():
    kernels = [*steps(6), *steps(6, kernels=[("q", "y")])]
    again = table(kernels, iteration=[0] * 6 + [1] * 6)
    (chosen,) = select([again])
    assert compared(chosen, again) == [("decode[0–5]", ["x"]), ("decode[0–5] (2)", ["y"])]
    assert [row.a[0].parsed.name for row in diff_tables(again, again).rows] == ["x", "y"]


def test_many_phases_that_ran_several_times_are_told_in_short():
    phases = [f"op {letter}" for letter in "abcdefgh"]
    many = table([(phase, "q", "x") for phase in phases for _ in range(2)], iteration=[0, 1] * len(phases))
    (chosen,) = select([many])
    assert len(chosen.notes) == 5
    assert chosen.notes[-1] == "4 more phases ran several times"


def test_a_handful_of_steps_and_those_that_evidence_may_speak_of_keep_a_phase_each():
    assert len(select([table(steps(4))])[0].excerpts) == 4
    assert len(select([table(steps(20), batch=1)])[0].excerpts) == 20
    assert len(select([table(steps(40), batch=1)])[0].excerpts) == 1


def test_one_step_of_many_can_be_asked_for():
    many = table(steps(9))
    (chosen,) = select([many], ["decode[7]"])
    assert [part.phase for part in chosen.excerpts] == ["decode[7]"]
    assert [(left.why, left.executions, left.weighs) for left in chosen.not_compared] == [
        (LeftOut.NOT_ASKED_FOR, 8, False)
    ]


def test_prefill_is_compared_with_prefill_whatever_the_order():
    prefill = [("step", "q", "gemm big"), ("step", "q", "flash"), ("step", "q", "add")]
    decode = [("step", "q", "gemm small"), ("step", "q", "split"), ("step", "q", "combine"), ("step", "q", "add")]
    other_decode = [("step", "q", "gemm other"), *decode[1:]]
    other_prefill = [("step", "q", "gemm else"), *prefill[1:]]
    first = table([*prefill, *decode * 3], iteration=[0] * 3 + [n for n in (1, 2, 3) for _ in range(4)])
    second = table([*other_decode, *other_prefill, *other_decode], iteration=[0] * 4 + [1] * 3 + [2] * 4)
    a, b = select([first, second])
    assert [(phase, names[0]) for phase, names in compared(a, first)] == [
        ("step[0]", "gemm big"),
        ("step[3]", "gemm small"),
    ]
    assert [(phase, names[0]) for phase, names in compared(b, second)] == [
        ("step[0]", "gemm else"),
        ("step[3]", "gemm other"),
    ]
    assert a.not_compared == (NotCompared(why=LeftOut.OTHER_COUNT, phase="step[3]", executions=1, kernels=4),)
    assert b.not_compared == ()


def test_a_kind_without_counterpart_is_counted():
    a, b = repeated("long", "short", "short"), repeated("short", "short", "short", "short")
    first, second = select([a, b])
    assert first.not_compared == (NotCompared(why=LeftOut.OTHER_KIND, phase="step", executions=1, kernels=2),)
    assert first.not_compared[0].weighs
    assert second.not_compared == (NotCompared(why=LeftOut.OTHER_COUNT, phase="step", executions=2, kernels=2),)
    assert second.not_compared[0].weighs
    assert [len(each.durations_ns) for each in (*first.executions, *second.executions)] == [2, 4]


def test_an_execution_that_launches_otherwise_than_the_other_traces_is_counted():
    steady = repeated("short", "short", "short")
    grid = steady.grid.copy()
    grid[:, 0] = [8, 16, 24]  # a cache that grows, in both traces alike
    growing, other = replace(steady, grid=grid), grid.copy()
    assert [chosen.not_compared for chosen in select([growing, growing])] == [(), ()]
    other[1, 0] = 17
    for chosen in select([growing, replace(steady, grid=other)]):
        (left,) = chosen.not_compared
        assert (left.why, left.executions, left.kernels, left.weighs) == (LeftOut.OTHER_LAUNCH, 1, 1, True)
    # Where the compared execution differs too, that says it all.
    assert [chosen.not_compared for chosen in select([growing, replace(steady, grid=grid + 1)])] == [(), ()]


def test_an_execution_for_which_cublaslt_logged_something_else_is_counted():
    steady = repeated("short", "short", "short")
    numbers = [np.array(codes, dtype=np.int32) for codes in ([0, 0, 0], [1, 0, 1])]
    first = replace(steady, algorithms=("algo=[numSplitsK=3] at 0x7f00",), algorithm=numbers[0])
    second = replace(steady, algorithms=("algo=[numSplitsK=2]", "algo=[numSplitsK=3] at 0x7fff"), algorithm=numbers[1])
    assert select([first, second])[0].not_compared == (
        NotCompared(why=LeftOut.OTHER_LAUNCH, phase="step", executions=1, kernels=1),
    )


def test_too_many_kernels_in_no_module_are_listed_by_role_within_bounds():
    few = table([("serve", "", GEMM), ("serve", "", "add"), ("serve", "q", GEMM)])
    assert [part.module for part in select([few])[0].excerpts] == [None]
    many = table([("serve", "q", GEMM), *[("serve", "", GEMM), ("serve", "", "add")] * 600])
    for chosen in select([many, few]):
        assert [(part.phase, part.module) for part in chosen.excerpts] == [
            ("serve", None),
            ("serve", "gemm"),
            ("serve", "other"),
        ]
    assert [(left.why, left.kernels) for left in select([many])[0].not_compared] == [(LeftOut.OUTSIDE, 200)]
    assert [row.module for row in diff_tables(many, few).rows] == ["q", "gemm", "other"]
    alone = table([("serve", "", GEMM)] * 600)
    assert [row.module for row in diff_tables(alone, alone).rows] == ["gemm"]


def test_set_up_may_compute_less_than_the_ranges_do():
    warm = table([(None, "", GEMM), ("prefill", "q", GEMM), ("prefill", "k", GEMM)])
    assert [(left.why, left.kernels) for left in select([warm])[0].not_compared] == [(LeftOut.SET_UP, 1)]


def test_kernels_outside_are_counted_where_phases_were_asked_for():
    loose = table([("prefill", "q", "x"), (None, "", "y"), (None, "", "y"), ("decode", "q", "z")])
    assert select([loose], ["prefill"])[0].not_compared == (
        NotCompared(why=LeftOut.NOT_ASKED_FOR, phase="decode", executions=1, kernels=1),
        NotCompared(why=LeftOut.NOT_ASKED_FOR, phase=None, executions=0, kernels=2),
    )


def test_what_computes_more_than_all_ranges_is_no_set_up():
    late = table([*[(None, "", GEMM)] * 3, ("prefill", "q", GEMM)])
    (chosen,) = select([late])
    assert chosen.not_compared == ()
    assert len(compared(chosen, late)[-1][1]) == 3


def test_operators_that_are_phases_are_compared_by_place():
    """PyTorch's emit_nvtx makes every operator a phase, and its executions are of several kinds in any order."""
    linear = {"split": ["sk", "reduce"], "unsplit": ["u"], "other": ["o"]}

    def operators(*kinds):
        kernels = [("aten::linear", "", name) for kind in kinds for name in linear[kind]]
        return table(kernels, iteration=[n for n, kind in enumerate(kinds) for _ in linear[kind]])

    a = operators(*["split", "split", "other", "other"] * 4)
    b = operators(*["unsplit", "split", "other", "other"] * 4)
    first, second = select([a, b])
    assert first.not_compared == second.not_compared == ()
    assert [(x, y) for (_, x), (_, y) in zip(compared(first, a), compared(second, b), strict=True)] == [
        (["sk", "reduce"], ["u"]),
        (["sk", "reduce"], ["sk", "reduce"]),
        (["o"], ["o"]),
    ]
    assert diff_tables(a, b).differs


def test_only_the_phases_asked_for():
    both = table([("prefill", "q", "x"), ("decode[0]", "q", "y")])
    (chosen,) = select([both], ["decode[0]"])
    assert compared(chosen, both) == [("decode[0]", ["y"])]


def test_an_unknown_phase_is_trouble_that_names_the_known_ones():
    with pytest.raises(TracediffError, match=r"no phase 'warm': there is prefill"):
        select([table([("prefill", "q", "x")])], ["warm"])


@given(st.lists(st.sampled_from(["long", "short"]), min_size=1, max_size=6))
def test_a_trace_against_itself_compares_every_kind_and_finds_no_difference(kinds):
    steps = repeated(*kinds)
    diff = diff_tables(steps, steps)
    assert not diff.differs
    assert len({row.phase for row in diff.rows}) == len(set(kinds))


def test_a_servers_kernels_outside_every_range_are_listed_by_role_after_its_phases():
    (chosen,) = select([read_trace(PROFILES / "vllm" / "eager-b1.sqlite")])
    outside = [part.module for part in chosen.excerpts if part.phase is None]
    assert outside == ["elementwise", "copy", "other"]
    assert all(part.phase is not None for part in chosen.excerpts[: -len(outside)])


def test_of_kinds_that_share_nothing_else_the_seldom_one_is_paired_with_the_seldom_one():
    def ran(*names):
        return table([("step", "q", name) for name in names], iteration=list(range(len(names))))

    first, second = ran("x", *["y"] * 5), ran(*["often"] * 6, "seldom")
    a, b = select([first, second])
    assert [names for _, names in compared(a, first)] == [["x"], ["y"]]
    assert [names for _, names in compared(b, second)] == [["seldom"], ["often"]]


def test_the_same_kernels_are_compared_before_ones_that_are_only_alike():
    same = [("step", f"m{n}", f"k{n}") for n in range(200)]
    alike = [*same[:-1], ("step", "m199", "other")]
    once = table(same)
    both = table([*alike, *same], iteration=[0] * 200 + [1] * 200)
    for a, b in ((once, both), (both, once)):
        assert not any(row.changed for row in diff_tables(a, b).rows)


def test_every_phase_is_asked_for_by_the_name_that_a_report_prints():
    steps = repeated("long", "short", "short")
    assert [part.phase for part in select([steps], ["step"])[0].excerpts] == ["step[0]", "step[2]"]
    (chosen,) = select([steps], ["step[2]"])
    assert compared(chosen, steps) == [("step[2]", ["z"])]
    assert chosen.not_compared == (NotCompared(why=LeftOut.NOT_ASKED_FOR, phase="step[0]", executions=1, kernels=2),)
    few = table([("decode[0]", "q", "x"), ("decode[1]", "q", "x"), ("prefill", "q", "x"), (None, "", "x")])
    assert [part.phase for part in select([few], ["decode"])[0].excerpts] == ["decode[0]", "decode[1]"]
    assert [part.phase for part in select([few], ["outside every range"])[0].excerpts] == [None]
    many = table([(f"decode[{number}]", "q", "x") for number in range(100)])
    assert [part.phase for part in select([many], ["decode[0–99]"])[0].excerpts] == ["decode[0–99]"]


def test_of_very_many_phases_those_that_are_called_alike_are_named():
    many = table([(f"phase {chr(97 + number % 26)}{number}x", "q", "x") for number in range(60)])
    with pytest.raises(TracediffError, match="phase c28x"):
        select([many], ["phase c28"])
