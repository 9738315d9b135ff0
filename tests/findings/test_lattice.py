"""What printed numbers say about their dtype."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracediff.dtypes import FORMATS
from tracediff.errors import TracediffError
from tracediff.findings.lattice import Reading, analyse
from tracediff.findings.lattice_fit import print_errors


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
        # Logits that span 16 may also have their top just above 32: logprobs do not tell, so both are right.
        assert result.margins[0].low in (16.0, 32.0)
        unit = result.margins[0].low / 128
        assert [gap.ulp for gap in result.gaps] == (-np.diff(np.sort(logits)[::-1]) / unit).tolist()


@pytest.mark.parametrize("count", [2, 3, 5, 20])
@pytest.mark.parametrize(("dtype", "ulp", "sentence"), [("bfloat16", 0.125, "bf16"), ("float16", 1 / 64, "fp16")])
def test_the_top_two_of_logprobs_are_measured_at_the_top_however_many_smaller_ones_follow(count, dtype, ulp, sentence):
    """Logits below 16 lie on a lattice twice as fine; the top two stay 3 ULP apart."""
    lower = FORMATS[dtype].nearest(np.random.default_rng(0).uniform(12, 20, 18))
    logits = np.array([21.5 + 3 * ulp, 21.5, *lower])
    result = analyse(readings(log_softmax(logits)[:count].tolist()), kind="logprobs")
    assert result.sentence == (f"logits were probably {sentence}; the top two are 3 ULP apart ({3 * ulp:.6g})")


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


@pytest.mark.parametrize("masked", ["-inf", "nan", "-9999.0", "-1e9", "-3.4028235e+38", "-10000", "-65504.0", "-999"])
@pytest.mark.parametrize("kept", [["-0.3132617", "-1.4382617", "-4.8132617", "-5.0632617"], ["18.25", "18.375"]])
def test_masked_tokens_are_no_values(masked, kept):
    plain, with_masked = analyse(readings(kept)), analyse(readings([*kept, masked]))
    assert with_masked.count == len(kept)
    assert (with_masked.spacing, with_masked.margins, with_masked.gaps) == (plain.spacing, plain.margins, plain.gaps)
    assert any(f"masked tokens: 1 ({masked})" in note for note in with_masked.notes)


def test_large_negative_logits_that_stand_together_are_values():
    assert analyse(readings([-1000.5, -1001.25, -1003.0])).count == 3


@pytest.mark.parametrize("text", ["0.0", "-0.0", "0", "5e-324", "1e-45", "0e999999"])
@pytest.mark.filterwarnings("error")
def test_a_value_at_or_near_zero_raises_no_warning(text):
    lattice = analyse(readings([text, -20.5, -21.25]))
    json.dumps(asdict(lattice), allow_nan=False)
    assert lattice.margin == pytest.approx(20.5)


def test_probabilities_are_seen_as_such_and_their_logarithms_taken():
    lattice = analyse(readings([0.000183458, 0.00265192, 0.0010540, 0.9959388, 0.00017180]))
    assert lattice.kind == "logprobs"
    assert any("probabilities" in note for note in lattice.notes)
    assert lattice.gaps[0].value == pytest.approx(math.log(0.9959388))
    assert lattice.margin == pytest.approx(math.log(0.9959388 / 0.00265192))


def test_a_part_of_a_distribution_may_be_probabilities_and_is_asked_for():
    lattice = analyse(readings([0.6, 0.3]))
    assert lattice.kind == "logits"
    assert any("--kind probabilities" in note for note in lattice.notes)
    assert analyse(readings([0.6, 0.3]), kind="probabilities").margin == pytest.approx(math.log(2))


def test_probabilities_printed_finely_still_tell_the_dtype():
    logits = np.array([21.5, 21.375, 20.25, 19.0, 18.625, 17.125])
    probabilities = np.exp(logits - logits.max())
    lattice = analyse(readings((probabilities / probabilities.sum()).tolist()))
    assert lattice.sentence == "logits were probably bf16; the top two are 1 ULP apart (0.125)"


def test_the_sentence_names_the_dtype_and_the_margin():
    assert analyse(readings(["19.6250", "19.5000", "17.8750"])).sentence == (
        "logits were probably bf16; the top two are 1 ULP apart (0.125)"
    )
    assert analyse(readings([19.625, 19.625, 17.875])).sentence.endswith("the top two are exactly equal")
    assert analyse(readings(["1.5", "1.2"])).sentence == (
        "the dtype cannot be told from these values; the top two are 0.3 apart"
    )


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["bfloat16", "float16"]), as_logprobs=st.booleans())
def test_the_margin_of_the_top_two_does_not_depend_on_how_many_more_were_pasted(seed, dtype, as_logprobs):
    """More values may settle the dtype; what is said of the margin stays, and is right."""
    logits = FORMATS[dtype].nearest(np.sort(np.random.default_rng(seed).uniform(6, 31.9, 20))[::-1])
    logits[0] = FORMATS[dtype].nearest(logits[1] + 3 * FORMATS[dtype].spacing(logits[1]))
    values = log_softmax(logits) if as_logprobs else logits
    found = [analyse(readings([repr(float(v)) for v in values[:n]]), dtype=dtype) for n in (2, 5, 10, 20)]
    true = (logits[0] - logits[1]) / FORMATS[dtype].spacing(logits[0])
    assert len({one.margin for one in found}) == 1
    assert found[-1].margin == pytest.approx(logits[0] - logits[1], abs=1e-5)
    if not as_logprobs:
        assert {one.margins[0].ulp for one in found} == {true}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"readings": readings([1.0])}, "fewer than two"),
        ({"readings": readings(["x", "y"])}, "is not a number"),
        ({"readings": readings([1, 2]), "kind": "odds"}, "unknown kind odds"),
        ({"readings": readings([1, 2]), "dtype": "int8"}, "unknown dtype int8"),
        ({"readings": readings([1e300, 2])}, "too large for a logit"),
        ({"readings": readings([0.5, -0.5]), "kind": "logprobs"}, "0.5 is not a logprob"),
        ({"readings": readings([0.5, 1.5]), "kind": "probabilities"}, "not probabilities"),
        ({"readings": readings([1, 0]), "kind": "probabilities"}, "fewer than two probabilities above zero"),
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
