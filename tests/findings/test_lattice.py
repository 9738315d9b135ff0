"""What printed numbers say about their dtype."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracediff.dtypes import FORMATS
from tracediff.errors import TracediffError
from tracediff.findings.lattice import Reading, analyse, print_errors


def readings(values):
    return [Reading(label=str(place), text=str(value)) for place, value in enumerate(values)]


def log_softmax(logits):
    """As serving code does it: in float32."""
    logits = np.asarray(logits, dtype=np.float32)
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum(dtype=np.float32), dtype=np.float32)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.5, 3.0, 20.0]))
def test_logits_of_a_dtype_are_recognised(name, seed, scale):
    logits = FORMATS[name].nearest(np.random.default_rng(seed).normal(0, scale, 20))
    result = analyse(readings(logits.tolist()), kind="logits")
    assert result.dtypes == (name,)
    for gap, (upper, lower) in zip(
        result.gaps, zip(sorted(logits)[::-1], sorted(logits)[::-1][1:], strict=False), strict=True
    ):
        assert gap.ulp == (upper - lower) / FORMATS[name].spacing(max(abs(upper), abs(lower)))


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_doubles_are_not_taken_for_a_narrower_type(seed):
    assert analyse(readings(np.random.default_rng(seed).normal(0, 3, 20).tolist()), kind="logits").dtypes == (
        "float64",
    )


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), digits=st.sampled_from([None, 5, 4]))
def test_logprobs_leave_the_lattice_and_their_differences_stay_on_it(seed, digits):
    logits = FORMATS["bfloat16"].nearest(np.random.default_rng(seed).uniform(16, 31.9, 12))
    assume(len(set(logits.tolist())) > 6)
    logprobs = log_softmax(logits).tolist()
    printed = logprobs if digits is None else [f"{value:.{digits}f}" for value in logprobs]
    result = analyse(readings(printed))
    assert result.kind == "logprobs"
    differences = (logits.max() - logits) / 0.125
    expected = 0.125 * math.gcd(*differences.astype(int).tolist()) if differences.any() else None
    # A common factor of the steps that happens to be more than one hides the finer spacing.
    assert result.spacing == 0.125 * (int(expected / 0.125) & -int(expected / 0.125))
    if result.spacing == 0.125:
        assert ("bfloat16", 16.0, 32.0) in result.implied
        assert [gap.ulp for gap in result.gaps] == (-np.diff(np.sort(logits)[::-1]) / 0.125).tolist()


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_arbitrary_logprobs_have_no_common_spacing(seed):
    logits = np.random.default_rng(seed).normal(0, 3, 10)
    logprobs = logits - np.log(np.exp(logits).sum())
    result = analyse(readings([f"{value:.4f}" for value in logprobs]))
    # Prints of four decimals lie on a lattice of 1e-4, which is no power of two.
    assert result.spacing is None or result.spacing_chance_log10 <= -3
    assert result.dtypes == ()


def test_a_coarse_print_proves_nothing_and_says_so():
    result = analyse(readings(["1.5", "1.2", "0.9"]), kind="logits")
    assert result.dtypes == ()
    assert result.spacing is None
    assert all(gap.ulp is None for gap in result.gaps)
    assert any("chance" in note for note in result.notes)


def test_an_exact_tie_is_a_gap_of_zero_and_named():
    result = analyse(readings([17.5, 17.5, 17.5, 16.25]), kind="logits", dtype="bfloat16")
    assert [gap.ulp for gap in result.gaps] == [0, 0, 10]
    assert any("lowest token id" in note for note in result.notes)


def test_the_shortest_print_of_a_float16_fits_float16():
    values = np.random.default_rng(0).normal(0, 3, 30).astype(np.float16)
    fit = next(fit for fit in analyse(readings(map(str, values)), kind="logits").fits if fit.dtype == "float16")
    assert fit.fitting == 30


def test_masked_tokens_are_left_out():
    assert analyse(readings([3.0, 2.0, "-inf", "nan"]), kind="logits").count == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"readings": readings([1.0])}, "fewer than two"),
        ({"readings": readings(["x", "y"])}, "is no number"),
        ({"readings": readings([1, 2]), "kind": "odds"}, "unknown kind odds"),
        ({"readings": readings([1, 2]), "dtype": "int8"}, "unknown dtype int8"),
    ],
)
def test_what_is_no_logits_is_refused_in_one_line(arguments, words):
    with pytest.raises(TracediffError, match=words):
        analyse(**arguments)


@settings(deadline=None)
@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=30),
    decimals=st.integers(0, 8),
    strip=st.booleans(),
)
def test_a_printed_number_is_within_its_print_error(values, decimals, strip):
    texts = [f"{value:.{decimals}f}" for value in values]
    assume(not strip or any(not text.endswith("0") for text in texts))
    if strip and decimals:
        texts = [text.rstrip("0").rstrip(".") or "0" for text in texts]
    for value, text, error in zip(values, texts, print_errors(texts), strict=True):
        assert abs(value - float(text)) <= error * (1 + 1e-9)


def test_json_round_trips_through_the_lattice_exactly():
    values = FORMATS["float16"].nearest(np.random.default_rng(1).normal(0, 5, 50)).tolist()
    assert json.loads(json.dumps(values)) == values
    assert analyse(readings(map(repr, values)), kind="logits").fits[1].exact == 50
