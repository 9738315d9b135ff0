"""Pasted logits and logprobs of every shape that people paste."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracediff.errors import TracediffError
from tracediff.findings.lattice_input import read_groups


def found(text):
    return [([(reading.label, reading.text) for reading in group.readings], group.kind) for group in read_groups(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1.50, 2]", [([("0", "1.50"), ("1", "2")], None)]),
        ('{"the": -0.5, "a": -1.25}', [([("the", "-0.5"), ("a", "-1.25")], None)]),
        ('{"logits": [[1, 2], [3, 4]]}', [([("0", "1"), ("1", "2")], "logits"), ([("0", "3"), ("1", "4")], "logits")]),
        (
            '[{"token": "a", "logprob": -1.5}, {"token": "b", "logprob": -2.0}]',
            [([("a", "-1.5"), ("b", "-2.0")], "logprobs")],
        ),
        (  # OpenAI chat completions: one group per token, the chosen tokens' own logprobs are none
            '{"choices": [{"logprobs": {"content": [{"token": "x", "logprob": -0.1, "top_logprobs": '
            '[{"token": "x", "logprob": -0.1}, {"token": "y", "logprob": -2.5}]}]}}]}',
            [([("x", "-0.1"), ("y", "-2.5")], "logprobs")],
        ),
        (  # OpenAI completions
            '{"logprobs": {"tokens": ["x"], "token_logprobs": [-0.1, -0.3], "top_logprobs": [{"x": -0.1, "y": -2.5}]}}',
            [([("x", "-0.1"), ("y", "-2.5")], "logprobs")],
        ),
        (  # vLLM
            '[{"11": {"logprob": -0.1, "rank": 1, "decoded_token": " x"}, "12": {"logprob": -2.5, "rank": 2}}]',
            [([(" x", "-0.1"), ("12", "-2.5")], "logprobs")],
        ),
        ("token,logit\nx,1.5\ny,1.25\n", [([("x", "1.5"), ("y", "1.25")], "logits")]),
        (
            "step,token_id,logprob\n0,5,-0.5\n0,6,-1.0\n1,5,-0.25\n1,6,-2.0\n",
            [([("5", "-0.5"), ("6", "-1.0")], "logprobs"), ([("5", "-0.25"), ("6", "-2.0")], "logprobs")],
        ),
        ("x,1.5\ny,1.25\n", [([("x", "1.5"), ("y", "1.25")], None)]),
        ("1.5\n1.25\n", [([("0", "1.5"), ("1", "1.25")], None)]),
        (
            "1,2,3\n4,5,6\n",
            [([("0", "1"), ("1", "2"), ("2", "3")], None), ([("0", "4"), ("1", "5"), ("2", "6")], None)],
        ),
    ],
)
def test_each_shape_is_read_with_its_digits_kept(text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("{", "not JSON"),
        ('{"a": "b"}', "no logits or logprobs found"),
        ("hello world", "neither JSON nor CSV"),
        ("token,logit\nx,1.5\ny\n", "row 3 has 1 cells"),
        ("token,logit\nx,high\ny,1\n", "'high' is no number"),
        ("[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, words):
    with pytest.raises(TracediffError, match=words):
        read_groups(text)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=5) | st.booleans(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    )
)
def test_any_json_is_read_or_refused(value):
    try:
        groups = read_groups(json.dumps(value))
    except TracediffError:
        return
    assert all(len(group.readings) >= 1 for group in groups)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        read_groups(text)
    except TracediffError:
        return
