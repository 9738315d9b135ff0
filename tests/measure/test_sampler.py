"""Samplers at temperature 0: exact ones pass, each historical fault is caught by what it chooses."""

import sys

import numpy as np
import pytest

from tracediff.errors import TracediffError
from tracediff.measure.sampler import check_sampler, load_sampler, sampler_cases


def exact(logits, temperature):
    return logits.argmax(axis=-1)


def divides_by_zero(logits, temperature):
    with np.errstate(all="ignore"):
        return (logits / np.asarray(temperature, logits.dtype)).argmax(axis=-1)


def divides_by_epsilon(logits, temperature):
    """The fault of old: a temperature of 0 clamped to a tiny number, in the logits' own dtype."""
    with np.errstate(all="ignore"):
        scaled = logits / np.asarray(max(temperature, 1e-5), dtype=logits.dtype)
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return (powers / powers.sum(axis=-1, keepdims=True)).argmax(axis=-1)


def casts_first(logits, temperature):
    """Near ties become ties in a narrower dtype, and the lower id wins."""
    with np.errstate(over="ignore"):
        return logits.astype(np.float16).argmax(axis=-1)


def takes_the_argmax_of_probabilities(logits, temperature):
    """Softmax in the logits' dtype rounds near ties together."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).argmax(axis=-1)


def draws(logits, temperature):
    shifted = np.exp((logits - logits.max(axis=-1, keepdims=True)).astype(np.float64))
    generator = np.random.default_rng()
    return [generator.choice(len(row), p=row / row.sum()) for row in shifted]


def looks_at_other_rows(logits, temperature):
    return (logits - 2 * logits[:1] * (len(logits) > 1)).argmax(axis=-1)


def raises(logits, temperature):
    return 1 / temperature


def returns_one_token(logits, temperature):
    return int(logits[0].argmax())


def takes_the_last_of_equal_ones(logits, temperature):
    return logits.shape[1] - 1 - logits[:, ::-1].argmax(axis=-1)


def test_argmax_is_exact():
    report = check_sampler(exact, "exact", "numpy")
    assert report.exact
    assert len(report.results) == len(list(sampler_cases("numpy")))


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (divides_by_zero, "the argmax is"),
        (divides_by_epsilon, "the argmax is"),
        (casts_first, "the argmax is"),
        (takes_the_argmax_of_probabilities, "the argmax is"),
        (draws, "other tokens when asked again|the argmax is"),
        (looks_at_other_rows, "the argmax is|alone"),
        (raises, "raised ZeroDivisionError"),
        (returns_one_token, "one token id for each of 8 rows"),
    ],
)
def test_each_fault_is_caught(sampler, words):
    report = check_sampler(sampler, sampler.__name__, "numpy")
    assert not report.exact
    problems = [result.problem for result in report.results if result.problem is not None]
    import re

    assert any(re.search(words, problem) for problem in problems)


def test_a_tie_broken_otherwise_is_noted_and_no_fault():
    report = check_sampler(takes_the_last_of_equal_ones, "last", "numpy")
    assert report.exact
    assert {result.name for result in report.results if result.note} >= {"three-way exact tie"}


def test_a_near_tie_in_float32_is_what_a_cast_to_float16_gets_wrong():
    report = check_sampler(casts_first, "casts", "numpy")
    wrong = {(result.dtype, result.name) for result in report.results if result.problem}
    assert ("float32", "the two largest one ULP apart") in wrong
    assert not any(dtype == "float16" for dtype, _ in wrong)


@pytest.mark.torch
def test_tensor_samplers_are_checked_in_bfloat16_too():
    torch = pytest.importorskip("torch")

    def greedy(logits, temperature):
        return torch.argmax(logits, dim=-1, keepdim=True)

    def clamped(logits, temperature):
        return torch.softmax(logits / max(temperature, 1e-5), dim=-1).argmax(dim=-1)

    assert check_sampler(greedy, "greedy").exact
    report = check_sampler(clamped, "clamped")
    assert {result.dtype for result in report.results if result.problem} >= {"float16"}
    assert {result.dtype for result in report.results} == {"float32", "float16", "bfloat16"}


def test_every_case_has_one_largest_logit_except_the_tie():
    for case in sampler_cases():
        for row in case.logits:
            tied = int((row == row.max()).sum())
            assert tied == (3 if case.name == "three-way exact tie" else 1), case.name


def test_a_sampler_is_imported_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_sampling.py").write_text("def pick(logits, temperature):\n    return logits.argmax(-1)\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert check_sampler(load_sampler("my_sampling:pick"), "pick", "numpy").exact
    assert sys.path == path


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "names no sampler"),
        ("no_such_module:f", "cannot import"),
        ("math:nothing", "cannot import"),
        ("math:pi", "not callable"),
    ],
)
def test_a_sampler_that_cannot_be_imported_is_one_line(path, words):
    with pytest.raises(TracediffError, match=words):
        load_sampler(path)


@pytest.mark.parametrize(
    ("code", "words"), [("def f(:", "SyntaxError"), ("raise ValueError('no\\nGPU')", "ValueError: no$")]
)
def test_a_module_that_fails_when_it_is_imported_is_one_line(tmp_path, monkeypatch, code, words):
    (tmp_path / "failing_sampler.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TracediffError, match=words):
        load_sampler("failing_sampler:f")
