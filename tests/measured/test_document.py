"""`evidence.json`: what is read, what is refused and where the fault is, and that the writer's file reads back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.diff.test_attached_evidence import stored
from tests.profiles import BFLOAT16, FLOAT16, FLOAT32
from tracediff.measured import (
    Bits,
    Control,
    ControlResult,
    Evidence,
    LogitsMove,
    MalformedEvidenceError,
    ModuleBits,
    PairEvidence,
    Repair,
    State,
    Unstable,
    decode_evidence,
    encode_evidence,
    read_evidence,
)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"controls": [1]}, "Expected `object`, got `array` - at `$.controls`"),
        ({"controls": {"neighbours": 3}}, "Expected `object`, got `int` - at `$.controls[...]`"),
        ({"tokens": True}, "Expected `int`, got `bool` - at `$.tokens`"),
        ({"tokens": 2**63}, "at `$.tokens`"),
        ({"notes": [None]}, "Expected `str`, got `null` - at `$.notes[0]`"),
        ({"batches": [1, -2]}, "Expected `int` >= 0 - at `$.batches[1]`"),
        ({"schema": 7}, "it has schema 7, this version reads 1 and 2"),
        ({"schema": True}, "Expected `int`, got `bool` - at `$.schema`"),
    ],
)
def test_the_place_and_the_kind_of_the_fault_are_named(change, where):
    with pytest.raises(MalformedEvidenceError) as caught:
        decode_evidence(json.dumps({**stored(), **change}))
    assert where in str(caught.value)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"repair": {"minimal": [1], "logits_equal": True}}, "`$.pairs[0].repair.minimal[0]`"),
        ({"logits": {"prefill": [float("nan"), 1]}}, "invalid"),
        ({"logits": {"prefill": [1.5, 1]}}, "Expected `float` <= 1.0"),
        ({"logits": {"prefill": False}}, "bits are true or [share, ULP], not false: logits of prefill"),
        ({"tokens": {"prefill": [1]}}, "length 2"),
        ({"modules": {"prefill": {"m": [True, False]}}}, "bits are true or [share, ULP], not false: m"),
    ],
)
def test_a_fault_in_a_pair_is_named_too(change, where):
    document = stored()
    document["pairs"][0].update(change)
    with pytest.raises(MalformedEvidenceError) as caught:
        decode_evidence(json.dumps(document))
    assert where in str(caught.value)


@pytest.mark.parametrize("folder", [FLOAT16, BFLOAT16, FLOAT32])
def test_the_real_files_are_read_whole_and_written_back_with_the_same_values(folder):
    read = read_evidence(folder / "evidence.json")
    assert [pair.batches for pair in read.pairs] == [(1, 2), (1, 8)]
    assert read.controls["neighbours"].equal is True
    assert len(read.pairs[0].modules["prefill"]) > 300
    assert decode_evidence(encode_evidence(read)) == read


SHARES = st.floats(0, 1).map(lambda share: float(f"{share:.4g}"))
DIFFERING = st.builds(Bits, equal=st.just(False), share=SHARES, max_ulp=st.none() | st.integers(0, 2**63 - 1))
BITS = st.none() | st.just(Bits(equal=True)) | DIFFERING
WHOLE, NAME = st.integers(0, 2**63 - 1), st.text(max_size=6)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
MOVES = st.builds(
    LogitsMove, max_abs=NUMBER, scale=NUMBER, margins=st.tuples(NUMBER, NUMBER), top_changes=st.tuples(NUMBER, NUMBER)
)
PAIRS = st.builds(
    PairEvidence,
    batches=st.tuples(WHOLE, WHOLE),
    moves=st.dictionaries(NAME, MOVES, max_size=2),
    pinned_logits=st.dictionaries(NAME, BITS, max_size=2),
    logits=st.dictionaries(NAME, BITS, max_size=3),
    tokens=st.dictionaries(NAME, st.tuples(WHOLE, WHOLE), max_size=3),
    modules=st.dictionaries(
        NAME, st.dictionaries(NAME, st.builds(ModuleBits, isolated=BITS, propagated=BITS), max_size=3), max_size=2
    ),
    first_origin=st.none() | st.tuples(NAME, NAME),
    repair=st.none()
    | st.builds(
        Repair,
        minimal=st.lists(NAME, max_size=3).map(tuple),
        logits_equal=st.booleans(),
        complement_logits_equal=st.none() | st.booleans(),
        tried=WHOLE,
    ),
)
EVIDENCE = st.builds(
    Evidence,
    model=NAME,
    dtype=NAME,
    tokens=WHOLE,
    batches=st.lists(WHOLE, max_size=3).map(tuple),
    phases=st.lists(NAME, max_size=3).map(tuple),
    pairs=st.lists(PAIRS, max_size=2).map(tuple),
    notes=st.lists(NAME, max_size=2).map(tuple),
    controls=st.dictionaries(
        NAME,
        st.builds(
            Control,
            equal=st.none() | st.booleans(),
            compared=NAME,
            why=st.none() | NAME,
            held_out=WHOLE,
            first=st.none() | NAME,
            share=SHARES,
            max_ulp=st.none() | WHOLE,
        ),
        max_size=2,
    ),
    seconds=st.none() | st.floats(0, 1e6),
    attention=st.none() | NAME,
    repeats=st.none() | WHOLE,
    unstable=st.just(()),
    steady_attentions=st.none() | st.lists(NAME, max_size=2).map(tuple),
    weights=st.none() | NAME,
    gpu=st.none() | NAME,
    traces=st.dictionaries(WHOLE, NAME, max_size=2),
)


@given(evidence=EVIDENCE)
def test_what_is_written_reads_back_equal(evidence):
    assert decode_evidence(encode_evidence(evidence)) == evidence


def with_controls(tokens=6, **equal):
    controls = {
        name: {"equal": value, "compared": "words", "first": "decode[0]" if value is False else None}
        | {"share": 0.5, "max_ulp": 3}
        for name, value in equal.items()
    }
    return decode_evidence(json.dumps({**stored(), "tokens": tokens, "controls": controls})).controls


def test_a_control_of_an_older_file_is_kept_where_nothing_varies():
    controls = with_controls(run_to_run=True, neighbours=False, position=True)
    assert (controls["neighbours"].answer, controls["neighbours"].why) == (ControlResult.DIFFERS, None)
    assert controls["position"].answer is ControlResult.EQUAL


@pytest.mark.parametrize(("tokens", "repeats_itself"), [(6, False), (6, None), (700, True)])
def test_a_control_of_an_older_file_that_noise_could_explain_cannot_tell(tokens, repeats_itself):
    controls = with_controls(tokens, run_to_run=repeats_itself, neighbours=False, position=False, profiler=True)
    for name in ("neighbours", "position"):
        assert controls[name].answer is ControlResult.CANNOT_TELL
        assert "capture again" in controls[name].why
    assert controls["run_to_run"].equal is repeats_itself
    assert controls["profiler"].answer is ControlResult.EQUAL


def test_an_unstable_module_is_neither_origin_nor_clean_in_the_pairs_of_its_batch_size():
    evidence = Evidence(
        model="m",
        dtype="float16",
        tokens=700,
        batches=(1, 2, 7),
        phases=("prefill",),
        pairs=tuple(
            PairEvidence(
                batches=(1, batch),
                logits={},
                tokens={},
                modules={"prefill": {"attention": ModuleBits(isolated=None, propagated=OTHER)}},
                first_origin=None,
                repair=None,
            )
            for batch in (2, 7)
        ),
        notes=(),
        controls={},
        unstable=(Unstable(phase="prefill", module="attention", batch=7, outcomes=3, repeats=5, kernels=("cudnn",)),),
    )
    read = decode_evidence(encode_evidence(evidence))
    assert read.unstable == evidence.unstable
    states = [pair.modules["prefill"]["attention"].state for pair in read.pairs]
    assert states == [State.PROPAGATED, State.UNSTABLE]
    assert [read.run(pair, 1).unstable for pair in read.pairs] == [(), evidence.unstable]


def test_a_pair_in_the_other_order_turns_its_margins_around():
    move = LogitsMove(max_abs=0.1, scale=9.0, margins=(0.5, 0.25), top_changes=(0.1, 0.2))
    pair = PairEvidence(
        **{"batches": (1, 2), "logits": {}, "tokens": {}, "modules": {}, "first_origin": None, "repair": None},
        moves={"prefill": move},
    )
    evidence = decode_evidence(json.dumps(stored()))
    assert evidence.run(pair, 2).moves["prefill"].margins == (0.25, 0.5)
    assert evidence.run(pair, 1).moves["prefill"] == move


EQUAL, OTHER = Bits(equal=True), Bits(equal=False, share=0.5, max_ulp=1)


@pytest.mark.parametrize(
    ("isolated", "propagated", "state"),
    [
        (OTHER, OTHER, State.ORIGIN),
        (OTHER, EQUAL, State.ORIGIN),
        (EQUAL, OTHER, State.PROPAGATED),
        (None, OTHER, State.PROPAGATED),
        (EQUAL, EQUAL, State.CLEAN),
        (EQUAL, None, State.CLEAN),
        (None, EQUAL, None),
        (None, None, None),
    ],
)
def test_a_module_is_what_it_does_to_bits(isolated, propagated, state):
    assert ModuleBits(isolated=isolated, propagated=propagated).state is state


SECOND = {
    **{"schema": 2, "model": "m", "dtype": "float16", "tokens": 6, "batches": [1, 2], "phases": ["prefill"]},
    "pairs": [],
    "controls": {"neighbours": {"answer": "equal", "compared": "rows"}},
}
UNSTABLE = {"phase": "prefill", "module": "m", "batch": 2, "outcomes": 2, "repeats": 5}


def test_a_file_of_schema_2_may_leave_out_what_is_empty():
    evidence = decode_evidence(json.dumps(SECOND))
    assert evidence.controls["neighbours"].equal is True
    assert (evidence.unstable, evidence.attention, evidence.steady_attentions) == ((), None, None)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"controls": {"neighbours": {"answer": "maybe", "compared": "rows"}}}, "answer"),
        ({"controls": {"neighbours": {"equal": True, "compared": "rows"}}}, "answer"),
        ({"unstable": [{**UNSTABLE, "repeats": 0}]}, "$.unstable[0].repeats"),
        ({"unstable": [{**UNSTABLE, "outcomes": 0}]}, "$.unstable[0].outcomes"),
        ({"unstable": [{**UNSTABLE, "kernels": "one"}]}, "$.unstable[0].kernels"),
        ({"steady_attentions": [1]}, "$.steady_attentions[0]"),
        ({"attention": 3}, "$.attention"),
    ],
)
def test_a_fault_in_a_field_of_schema_2_is_named(change, where):
    with pytest.raises(MalformedEvidenceError) as caught:
        decode_evidence(json.dumps({**SECOND, **change}))
    assert where in str(caught.value)
