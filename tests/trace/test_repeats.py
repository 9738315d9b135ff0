"""Repeated blocks in a sequence of kernels, also where some of them deviate."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracediff.trace.repeats import KernelSequence, find_runs

#: A block in letters: n norms, products are capital, f is attention, others compute element by element.
BLOCK = "nQKVrfOanGsUmDa"
HEAD, TAIL = "ex", "nLt"


def sequence(letters, groups=None, executions=None):
    """Make a sequence in which equal items are equal kernels; the first letter of each is its role."""
    codes = {}
    code = np.array([codes.setdefault(each, len(codes)) for each in letters], dtype=np.int64)
    kind = [str(each)[0] for each in letters]
    return KernelSequence(
        code=code,
        name=code,
        is_product=np.array([each.isupper() for each in kind], dtype=bool),
        is_attention=np.array([each == "f" for each in kind], dtype=bool),
        adds_parts=np.array([each == "+" for each in kind], dtype=bool),
        is_norm=np.array([each == "n" for each in kind], dtype=bool),
        group=np.arange(len(code)) if groups is None else np.array(groups),
        execution=np.zeros(len(code), dtype=np.int64) if executions is None else np.array(executions),
    )


def blocks(runs):
    """Return for each run where its blocks begin and where the last one ends."""
    return [[*run.starts, run.end] for run in runs]


def steps(*letters_of_blocks, head=HEAD, tail=TAIL):
    """Return the letters of steps, and the bounds of the blocks of each."""
    letters, bounds = [], []
    for each in letters_of_blocks:
        letters += head
        bounds.append([len(letters)])
        for block in each:
            letters += block
            bounds[-1].append(len(letters))
        letters += tail
    return letters, bounds


def test_blocks_of_every_step_are_found_from_their_beginning_to_their_end():
    letters, bounds = steps([BLOCK] * 6, [BLOCK] * 6, [BLOCK] * 6)
    assert blocks(find_runs(sequence(letters))) == bounds


def test_steps_of_different_blocks_are_found_each():
    prefill, decode = BLOCK, "nQKVrfcOanWsDa"
    letters, bounds = steps([prefill] * 8, *[[decode] * 8] * 5)
    assert blocks(find_runs(sequence(letters))) == bounds


def test_a_whole_step_that_repeats_is_not_taken_for_a_block():
    letters, bounds = steps(*[[BLOCK] * 3] * 20)
    assert blocks(find_runs(sequence(letters))) == bounds


@pytest.mark.parametrize(
    "letters",
    ["", "A", "nAbCd", "A" * 50, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "nAbnAb", "A" + "xyz" * 50],
    ids=["nothing", "one", "short", "one kernel", "all different", "twice", "no product in what repeats"],
)
def test_where_no_block_that_computes_repeats_there_is_none(letters):
    assert find_runs(sequence(list(letters))) == []


def test_a_norm_fused_with_the_sum_before_it_belongs_to_the_block_that_it_begins():
    # The first block's norm is another kernel: there is no sum before it.
    block = ["n2", *"QKVrfO", "n3", *"GsD"]
    first = ["n1", *block[1:]]
    letters = [*"ex", *first, *block * 7, "n2", *"Lt"]
    assert blocks(find_runs(sequence(letters))) == [[2 + 11 * number for number in range(9)]]


def test_a_first_block_that_was_compiled_otherwise_is_a_block():
    """vLLM with torch.compile: the first block's kernels before attention are fused and named otherwise."""
    block = ["n2", "Q", "x3", *"cfOnGsD+"]
    first = ["n0", "Q0", "x1", *block[3:]]
    letters = [*"ex", *first, *block * 7, "n2", *"Lt"]
    assert blocks(find_runs(sequence(letters))) == [[2 + 11 * number for number in range(9)]]


def test_a_kernel_that_ends_every_block_with_a_norm_keeps_its_place_where_no_norm_precedes():
    block = [*"nQfOnaGsD", "n9", "a"]  # normalised again after the last product, as in Gemma 2
    letters = [*"ex", *block * 6, *"Lt"]
    assert blocks(find_runs(sequence(letters))) == [[2 + 11 * number for number in range(7)]]


@pytest.mark.parametrize("before", ["a", "Da", "D+a"])
def test_kernels_before_the_first_block_that_are_like_the_end_of_one_are_in_none(before):
    block = BLOCK.replace("D", "D+") if "+" in before else BLOCK
    letters, bounds = steps([block] * 7, head="ex" + before)
    assert blocks(find_runs(sequence(letters))) == bounds


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_different_kernel_in_any_of_six_blocks_parts_nothing(seed, count):
    chance = random.Random(seed)
    letters, bounds = steps([BLOCK] * 12, [BLOCK] * 12)
    # Not a step's first block and its last, which only one neighbour confirms, and not the attention.
    inner = [block for each in bounds for block in list(pairwise(each))[1:-1]]
    for start, end in chance.sample(inner, count):
        place = chance.choice([place for place in range(start, end) if letters[place] != "f"])
        letters[place] = f"{letters[place]}{place}"
    assert blocks(find_runs(sequence(letters))) == bounds


@given(st.integers(0, 10_000))
def test_a_kernel_more_in_a_block_belongs_to_that_block(seed):
    chance = random.Random(seed)
    extra = chance.randrange(1, len(BLOCK))
    odd = [*BLOCK[:extra], "x", *BLOCK[extra:]]
    letters, bounds = steps([BLOCK] * 5 + [odd] + [BLOCK] * 6)
    assert blocks(find_runs(sequence(letters))) == bounds


@given(st.integers(1, len(BLOCK) - 2), st.integers(1, 10))
def test_a_kernel_less_in_a_block_shortens_that_block(missing, where):
    if BLOCK[missing] == "f":  # without attention it would be no block
        return
    odd = BLOCK[:missing] + BLOCK[missing + 1 :]
    letters, bounds = steps([BLOCK] * where + [odd] + [BLOCK] * (12 - where))
    assert blocks(find_runs(sequence(letters))) == bounds


def test_a_block_that_lost_its_attention_counts_as_long_as_it_is_nearly_whole():
    letters, bounds = steps([BLOCK] * 5 + [BLOCK.replace("f", "")] + [BLOCK] * 5)
    (found,) = blocks(find_runs(sequence(letters)))
    assert len(found) == len(bounds[0])
    assert found[:6] == bounds[0][:6]
    half, _ = steps([BLOCK] * 5 + [BLOCK[:6]] + [BLOCK] * 5)
    assert [len(run) for run in blocks(find_runs(sequence(half)))] == [6, 6]


def test_layers_that_take_turns_are_single_layers():
    other = [*"nQKVr", "f2", *"OanGsUmDa"]
    letters, bounds = steps([BLOCK, other] * 8, [BLOCK, other] * 8)
    assert blocks(find_runs(sequence(letters))) == bounds


def test_dense_layers_before_those_with_experts_are_the_first_blocks():
    experts = "nQKVrfOantpEEEEyDa"
    letters, bounds = steps([BLOCK] * 3 + [experts] * 9)
    assert blocks(find_runs(sequence(letters))) == bounds


def test_experts_that_repeat_inside_a_layer_are_no_layers():
    experts = "nQKVrfOan" + "tEsFm" * 8 + "a"
    letters, bounds = steps([experts] * 6, [experts] * 6)
    assert blocks(find_runs(sequence(letters))) == bounds


def test_replays_of_a_graph_that_follow_each_other_at_once_are_steps():
    letters = list("nAb" * 18)
    groups = [number // 18 for number in range(54)]
    assert blocks(find_runs(sequence(letters, groups))) == [
        [18 * step + 3 * number for number in range(7)] for step in range(3)
    ]
    assert len(find_runs(sequence(letters))) == 1


def test_executions_of_a_phase_that_follow_each_other_at_once_are_steps():
    letters = list(BLOCK * 12)
    executions = [number // (4 * len(BLOCK)) for number in range(len(letters))]
    found = blocks(find_runs(sequence(letters, executions=executions)))
    assert found == [[60 * step + 15 * number for number in range(5)] for step in range(3)]


def test_graphs_smaller_than_a_block_part_nothing():
    letters, bounds = steps([BLOCK] * 6)
    groups = np.cumsum([letter in "fO" for letter in letters])  # a graph before and after each attention, which is none
    assert blocks(find_runs(sequence(letters, groups))) == bounds


def test_graphs_that_hold_a_run_but_for_a_piece_of_its_first_block_part_nothing():
    experts = "nQKVrfOantpEEEEyDa"
    letters, bounds = steps([BLOCK] * 3 + [experts] * 3)
    (dense, sparse), piece = (bounds[0][0], bounds[0][3]), 5
    groups = np.searchsorted(
        [dense, dense + piece, sparse, sparse + piece, bounds[0][-1]], range(len(letters)), "right"
    )
    assert blocks(find_runs(sequence(letters, groups))) == bounds


@st.composite
def nearly_repeated(draw):
    """A block again and again, some of its repeats changed, other kernels between."""
    letter = st.sampled_from("nABfab")
    block = draw(st.lists(letter, min_size=1, max_size=8))
    pieces = draw(st.lists(st.one_of(st.just(block), st.lists(letter, max_size=8)), max_size=20))
    return [each for piece in pieces for each in piece * draw(st.integers(1, 4))]


@given(nearly_repeated())
def test_runs_are_in_order_and_do_not_overlap(letters):
    runs = find_runs(sequence(letters))
    for run in runs:
        assert all(first < second for first, second in pairwise([*run.starts, run.end]))
        assert len(run.starts) >= 3
        assert run.starts[0] >= 0
        assert run.end <= len(letters)
    assert all(before.end <= after.starts[0] for before, after in pairwise(runs))
