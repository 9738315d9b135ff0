"""Prompt files: one prompt per line, or JSON Lines."""

import json
from pathlib import Path

import pytest

from tracediff.errors import TracediffError
from tracediff.measure.prompts import Prompt, read_prompts


def test_every_line_of_a_text_file_is_a_prompt(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("hello\r\n\n  two words\n", encoding="utf-8")
    assert read_prompts(path) == (Prompt(text="hello"), Prompt(text="  two words"))


def test_json_lines_keep_line_breaks_and_kinds(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a\\nb", "kind": "code", "id": 7}\n\n{"text": "c"}\n')
    assert read_prompts(path) == (Prompt(text="a\nb", kind="code"), Prompt(text="c"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no prompt"),
        (b" \n\n", "holds no prompt"),
        (b"\xff\xfe", "cannot read"),
        (b'{"prompt": "a"}\nplain text', "line 2: "),
        (b'{"prompt": 5}', "line 1: Expected `str"),
        (b'{"kind": "code"}', "line 1 has no prompt"),
        (b'{"prompt": ""}', "line 1 has no prompt"),
    ],
)
def test_a_file_that_is_neither_is_one_line(tmp_path, content, words):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content)
    with pytest.raises(TracediffError, match=words) as raised:
        read_prompts(path)
    assert "\n" not in str(raised.value)


def test_the_published_prompts_are_500_of_several_kinds():
    prompts = read_prompts(Path(__file__).parents[2] / "profiles" / "tokens" / "prompts.jsonl")
    assert len(prompts) >= 500
    assert {prompt.kind for prompt in prompts} == {"question", "code", "chat", "text", "arithmetic", "long"}
    assert json.dumps([prompt.text for prompt in prompts])
