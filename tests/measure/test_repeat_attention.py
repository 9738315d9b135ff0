"""The script that counts the bit patterns of attention, tried out on a CPU."""

import sys
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import repeat_attention  # noqa: E402


def run(monkeypatch, capsys):
    line = ["repeat_attention", "--device", "cpu", "--keys", "5", "9", "--batches", "1", "2", "--repeats", "3"]
    monkeypatch.setattr(sys, "argv", line)
    assert repeat_attention.main() == 0
    return capsys.readouterr().out.splitlines()


def test_it_prints_a_line_for_each_dtype_and_number_of_keys(monkeypatch, capsys):
    lines = run(monkeypatch, capsys)
    assert lines[3] == "| dtype | keys | batch 1 | batch 2 |"
    assert [line.split("|")[1:3] for line in lines[5:]] == [
        [f" {dtype} ", f" {keys} "] for dtype in ("float16", "bfloat16") for keys in (5, 9)
    ]


def test_outputs_that_differ_are_counted(monkeypatch, capsys):
    noise, attention = count(), repeat_attention.scaled_dot_product_attention
    monkeypatch.setattr(
        repeat_attention, "scaled_dot_product_attention", lambda *tensors: attention(*tensors) + next(noise)
    )
    assert run(monkeypatch, capsys)[5] == "| float16 | 5 | 3 | 3 |"
