"""Pasted logits and logprobs of every shape that people paste."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracediff.errors import TracediffError
from tracediff.findings.lattice import analyse
from tracediff.findings.pasted_logits import FORMS, read_steps


def found(text):
    return [([(reading.label, reading.text) for reading in step.readings], step.kind) for step in read_steps(text)]


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


OPENAI_CHAT = """{"id": "c", "object": "chat.completion", "created": 1741570283, "model": "m", "choices": [{"index": 0,
 "message": {"role": "assistant", "content": "x y"}, "logprobs": {"content": [
  {"token": "x", "logprob": -0.1, "bytes": [120], "top_logprobs": [
    {"token": "x", "logprob": -0.1, "bytes": [120]}, {"token": "y", "logprob": -2.5, "bytes": [121]}]},
  {"token": "z", "logprob": -5.5, "bytes": [122], "top_logprobs": [
    {"token": "y", "logprob": -0.25, "bytes": [121]}]}], "refusal": null}, "finish_reason": "stop"}],
 "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "completion_tokens_details":
  {"reasoning_tokens": 0, "audio_tokens": 0}}}"""
SGLANG = """{"text": " x", "output_ids": [5, 6], "meta_info": {"id": "a", "prompt_tokens": 6, "completion_tokens": 2,
 "cached_tokens": 1, "e2e_latency": 0.1, "input_token_logprobs": [[null, 1, null], [-0.5, 2, null]],
 "output_token_logprobs": [[-0.1, 5, " x"], [-0.2, 6, " y"]],
 "output_top_logprobs": [[[-0.1, 5, " x"], [-2.5, 7, " z"]], [[-0.2, 6, null], [-2.0, 8, null]]]}}"""
LLAMA_CPP = """{"content": " a", "completion_probabilities": [{"id": 5, "token": " a", "bytes": [32],
 "logprob": -0.125, "top_logprobs": [{"id": 5, "token": " a", "bytes": [32], "logprob": -0.125},
 {"id": 6, "token": " b", "bytes": [32],
 "logprob": -2.5}]}], "tokens_predicted": 1, "timings": {"prompt_n": 1, "prompt_ms": 30.5}}"""
VLLM_OUTPUT = """[RequestOutput(request_id=0, prompt='Hi', prompt_token_ids=[1, 2], prompt_logprobs=None, outputs=[
 CompletionOutput(index=0, text=' a', token_ids=(11,), cumulative_logprob=-0.04, logprobs=[{11: Logprob(
 logprob=-0.0478515625, rank=1, decoded_token=' a'), 12: Logprob(logprob=-3.4228515625, rank=2, decoded_token=' b')}],
 finish_reason=length, stop_reason=None)],
 finished=True, metrics=RequestMetrics(arrival_time=1.5, finished_time=2.5))]"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OPENAI_CHAT, [([("x", "-0.1"), ("y", "-2.5")], "logprobs"), ([("z", "-5.5"), ("y", "-0.25")], "logprobs")]),
        (SGLANG, [([(" x", "-0.1"), (" z", "-2.5")], "logprobs"), ([("6", "-0.2"), ("8", "-2.0")], "logprobs")]),
        (LLAMA_CPP, [([(" a", "-0.125"), (" b", "-2.5")], "logprobs")]),
        (VLLM_OUTPUT, [([(" a", "-0.0478515625"), (" b", "-3.4228515625")], "logprobs")]),
        (
            '{"completion_probabilities": [{"content": " a", "probs": [{"prob": 0.75, "tok_str": " a"}, '
            '{"prob": 0.125, "tok_str": " b"}]}]}',
            [([(" a", "0.75"), (" b", "0.125")], "probabilities")],
        ),
        (
            '{"token": "a", "prob": 0.5, "top_probs": [{"token": "a", "prob": 0.5}, {"token": "b", "prob": 0.25}]}',
            [([("a", "0.5"), ("b", "0.25")], "probabilities")],
        ),
        (  # TGI
            '{"details": {"tokens": [{"id": 1, "text": "a", "logprob": -0.5, "special": false}, {"id": 2, "text": "b", '
            '"logprob": -0.7, "special": false}], "top_tokens": [[{"id": 1, "text": "a", "logprob": -0.5, "special": '
            'false}, {"id": 3, "text": "c", "logprob": -1.5, "special": false}]]}}',
            [([("a", "-0.5"), ("c", "-1.5")], "logprobs")],
        ),
        (  # Gemini
            '{"logprobsResult": {"topCandidates": [{"candidates": [{"token": "a", "tokenId": 1, "logProbability": -0.5}'
            ', {"token": "b", "tokenId": 2, "logProbability": -1.5}]}], "chosenCandidates": [{"token": "a",'
            '"tokenId": 1, "logProbability": -0.5}, {"token": "c", "tokenId": 3, "logProbability": -0.25}]}}',
            [([("a", "-0.5"), ("b", "-1.5")], "logprobs")],
        ),
        (  # JSON Lines
            '{"top_logprobs":[{"a":-0.25,"b":-1.5}]}\n{"top_logprobs":[{"b":-0.75,"a":-0.5}]}\n',
            [([("a", "-0.25"), ("b", "-1.5")], "logprobs"), ([("b", "-0.75"), ("a", "-0.5")], "logprobs")],
        ),
        (
            'event: message\ndata: {"choices":[{"logprobs":{"top_logprobs":[{"a":-0.25,"b":-1.5}]}}]}\n\n'
            'data: {"choices":[{"logprobs":{"top_logprobs":[{"c":-0.5,"d":-1.0}]}}]}\n\ndata: [DONE]\n',
            [([("a", "-0.25"), ("b", "-1.5")], "logprobs"), ([("c", "-0.5"), ("d", "-1.0")], "logprobs")],
        ),
        ("[('x', -0.68415), ('y', -0.70228)]", [([("x", "-0.68415"), ("y", "-0.70228")], None)]),
        ("logprobs = [(11, -0.5), (12, -1.5)]", [([("11", "-0.5"), ("12", "-1.5")], None)]),
        ("{'x': np.float32(-0.5), 'y': np.float32(-1.5)}", [([("x", "-0.5"), ("y", "-1.5")], None)]),
        (
            "tensor([[19.6250, 19.5000, 17.8750],\n        [12.0625, 11.9375,  9.5000]], device='cuda:0', "
            "dtype=torch.bfloat16)",
            [
                ([("0", "19.6250"), ("1", "19.5000"), ("2", "17.8750")], None),
                ([("0", "12.0625"), ("1", "11.9375"), ("2", "9.5000")], None),
            ],
        ),
        (
            ">>> logits[0, -1].topk(2).values\ntensor([19.6250, 19.5000], grad_fn=<TopkBackward0>)",
            [([("0", "19.6250"), ("1", "19.5000")], None)],
        ),
        ("array([ 1.5, -2.  ], dtype=float32)", [([("0", "1.5"), ("1", "-2.")], None)]),
        (
            "[-4.3750763e-01 -5.5313110e-05\n -7.5531006e-04]",
            [([("0", "-4.3750763e-01"), ("1", "-5.5313110e-05"), ("2", "-7.5531006e-04")], None)],
        ),
        ("[[1.5 2.5]\n [3.5 4.5]]", [([("0", "1.5"), ("1", "2.5")], None), ([("0", "3.5"), ("1", "4.5")], None)]),
        (
            "| token | batch 1 | batch 8 |\n|---|---:|---|\n| x | -0.68 | -0.70 |\n| y | -0.70 | -0.68 |",
            [([("x", "-0.68"), ("y", "-0.70")], None), ([("x", "-0.70"), ("y", "-0.68")], None)],
        ),
        (
            "| rank | token | logprob |\n|--|--|--|\n| 1 | `x` | -0.5 |\n| 2 | `y` | -1.5 |",
            [([("x", "-0.5"), ("y", "-1.5")], "logprobs")],
        ),
        (
            "10:01 token='x' logprob=-0.5 prob=60.9%\nsomething else\n10:02 token='y' logprob=-1.5 prob=22.3%",
            [([("x", "-0.5"), ("y", "-1.5")], "logprobs")],
        ),
        (
            "step 0 token=5 logit: 1.5\nstep 0 token=6 logit: 1.25\nstep 1 token=5 logit: 2.5\nstep 1 token=7 logit: 2",
            [([("5", "1.5"), ("6", "1.25")], "logits"), ([("5", "2.5"), ("7", "2")], "logits")],
        ),
        (
            'INFO top: {"a": -0.5, "b": -1.5}\nINFO top: {"a": -0.25, "b": -2.5}',
            [([("a", "-0.5"), ("b", "-1.5")], None), ([("a", "-0.25"), ("b", "-2.5")], None)],
        ),
        ("```json\n[1.5, 2.5]\n```", [([("0", "1.5"), ("1", "2.5")], None)]),
        (
            "| token | batch 1 |\n|---|---|\n| x | 60.9% |\n| y | 22.5 % |",
            [([("x", "60.9e-2"), ("y", "22.5e-2")], "probabilities")],
        ),
        (
            "| rank | token | A |\n|---|---|---|\n| 1 | x | \u22120.5 |\n| 2 | y\\|z | \u22121.5 |",
            [([("x", "-0.5"), ("y\\|z", "-1.5")], None)],
        ),
        (
            "┃ token ┃ logprob ┃\n┡━━━━━━━╇━━━━━━━━━┩\n│ the   │ -0.5    │\n│ a     │ -1.5    │",
            [([("the", "-0.5"), ("a", "-1.5")], "logprobs")],
        ),
        (
            " token | logit \n-------+-------\n the   | 1.5\n a     | 1.25",
            [([("the", "1.5"), ("a", "1.25")], "logits")],
        ),
        ("[tensor(19.6250, device='cuda:0'), tensor(19.5000)]", [([("0", "19.6250"), ("1", "19.5000")], None)]),
        (
            "torch.return_types.topk(\nvalues=tensor([[26.8281, 26.8125]], dtype=torch.float16),\n"
            "indices=tensor([[416, 284]]))",
            [([("416", "26.8281"), ("284", "26.8125")], None)],
        ),
        (
            "ChoiceLogprobs(content=[ChatCompletionTokenLogprob(token='x', bytes=[120], logprob=-0.5, top_logprobs=["
            "TopLogprob(token='x', bytes=[120], logprob=-0.5), TopLogprob(token='y', bytes=[121], logprob=-1.0)])], "
            "refusal=None)",
            [([("x", "-0.5"), ("y", "-1.0")], "logprobs")],
        ),
        (
            "  token  logprob\n0   the    -0.70\n1     a    -0.82",
            [([("0 the", "-0.70"), ("1 a", "-0.82")], "logprobs")],
        ),
        ("the: -0.70\na: -0.82", [([("the", "-0.70"), ("a", "-0.82")], None)]),
        ("' the': 19.625\n' a': 19.5", [([("the", "19.625"), ("a", "19.5")], None)]),
    ],
)
def test_what_people_paste_is_read(text, expected):
    assert found(text) == expected


def test_a_tensor_states_its_dtype():
    assert read_steps("tensor([1.5, 2.5], dtype=torch.bfloat16)")[0].dtype == "bfloat16"
    assert read_steps("array([1.5, 2.5], dtype=float16)")[0].dtype == "float16"


def test_a_print_that_leaves_values_out_says_so():
    assert "leaves values out" in read_steps("tensor([1.5, 2.5, ..., 0.5])")[0].notes[0]


def test_the_same_token_on_several_lines_may_be_several_runs():
    step = read_steps("run 1: token='x' | logprob=-0.4959\nrun 2: token='x' | logprob=-0.4696")[0]
    assert [reading.label for reading in step.readings] == ["x (line 1)", "x (line 2)"]
    assert "several runs" in step.notes[0]


def test_the_columns_of_a_table_are_named():
    assert [step.name for step in read_steps("token,batch 1,batch 8\nx,1.5,1.25\ny,1.25,1.5")] == ["batch 1", "batch 8"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the input is empty: what is read"),
        ("{", "no logits or logprobs found: what is read"),
        ('{"a": "b"}', "no logits or logprobs found"),
        ("hello world", "no logits or logprobs found"),
        ("tensor([1, 2], dtype=torch.int64)", "no logits or logprobs found"),
        ('{"usage": {"prompt_tokens": 5, "completion_tokens": 7}, "choices": [{"logprobs": null}]}', "no logits"),
        (
            '{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}, '
            '{"token": "b", "logprob": -0.7, "top_logprobs": []}]}}]}',
            "only the chosen token's value.*top_logprobs=5",
        ),
        ('{"logprobs": {"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.7]}}', "only the chosen token's value"),
        ("token,logit\nx,1.5\ny\n", "row 3 of the table has 1 cells, the header 2"),
        ("token,logit\nx,high\ny,1\n", "'high' is not a number"),
        ("[" * 100_000, "no logits or logprobs found"),
        ("(" * 10_000 + "1", "no logits or logprobs found"),
        ("[" * 5000 + "1.5, 2.5" + "]" * 5000, "no logits or logprobs found"),
        ('{"prompt_tokens": 5, "completion_tokens": 7}', "no logits or logprobs found"),
        ("the margin was 0.125 at step 3", "no logits or logprobs found"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, words):
    with pytest.raises(TracediffError, match=words) as raised:
        read_steps(text)
    assert "\n" not in str(raised.value)


def test_a_refusal_lists_every_form_that_is_read():
    with pytest.raises(TracediffError) as raised:
        read_steps("nothing here")
    assert all(form in str(raised.value) for form in FORMS)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=5) | st.booleans(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    )
)
def test_any_json_is_read_or_refused(value):
    try:
        steps = read_steps(json.dumps(value))
    except TracediffError:
        return
    assert all(len(step.readings) >= 1 for step in steps)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        read_steps(text)
    except TracediffError:
        return


@settings(deadline=None)
@given(st.text(alphabet="[](){}'\"\\,:=.|<> \n-+0123456789einftLogprbdkca", max_size=80))
def test_any_text_of_the_signs_that_prints_use_is_read_or_refused(text):
    try:
        steps = read_steps(text)
    except TracediffError:
        return
    for step in steps:
        try:
            analyse(step.readings, step.kind, step.dtype)
        except TracediffError:
            continue
