"""`tracediff lattice` on what people paste, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tracediff.cli import app

PASTED = Path(__file__).parent / "pasted"


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, list(map(str, arguments)), input=stdin)


def test_lattice_reads_standard_input():
    done = run("lattice", "-", stdin='{"the": -0.7012, "a": -0.8262, "an": -4.4512, "this": -5.2012}')
    assert done.exit_code == 0
    assert "multiples of 0.125" in done.stdout
    assert "one ULP of bfloat16 for logits between 16 and 32" in done.stdout


def test_lattice_shows_several_steps_as_one_line_each():
    done = run("lattice", "-", "--dtype", "bfloat16", "--kind", "logits", stdin="[[20.5, 20.25], [17, 17]]")
    assert done.exit_code == 0
    assert "exact tie" in done.stdout
    data = json.loads(run("lattice", "-", "--dtype", "bfloat16", "--format", "json", stdin="[[20.5, 20.25]]").stdout)
    assert data["steps"][0]["gaps"][0]["ulp"] == 2


@pytest.mark.parametrize(
    ("file", "steps", "sentence"),
    [
        ("jsonl.txt", 2, "logits were probably bf16; the top two are 9 ULP apart (1.125)"),
        ("log_lines.txt", 1, "the top two are 0.0263 apart"),
        ("markdown.txt", 2, "the top two are 0.01813 apart"),
        ("numpy.txt", 1, "the top two are 0.000699997 apart"),
        ("stream.txt", 1, "logits were probably bf16; the top two are 9 ULP apart (1.125)"),
        ("tensor.txt", 2, "logits were probably bf16; the top two are 1 ULP apart (0.125)"),
        ("tuples.txt", 1, "the top two are 0.01813 apart"),
        ("vllm_repr.txt", 1, "logits were probably bf16; the top two are 27 ULP apart (3.375)"),
        ("nprobs.json", 1, "the top two are 3.96678 apart"),
        ("probs.json", 1, "the top two are 5.9284 apart"),
        ("sentinel.json", 1, "logits were probably bf16; the top two are 9 ULP apart (1.125)"),
        ("without.json", 1, "logits were probably bf16; the top two are 9 ULP apart (1.125)"),
        ("zero.json", 1, "the top two are 20.5 apart"),
        ("masked.json", 1, "logits were probably bf16; the top two are 1 ULP apart (0.125)"),
    ],
)
def test_what_people_paste_is_answered_as_valid_json_without_a_warning(file, steps, sentence):
    done = subprocess.run(
        [sys.executable, "-m", "tracediff", "lattice", PASTED / file, "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout, parse_constant=pytest.fail)["steps"]
    assert len(found) == steps
    assert sentence in found[0]["sentence"]


def test_a_known_dtype_gives_the_margin_in_its_own_ulp():
    done = run("lattice", PASTED / "masked.json", "--dtype", "fp16", "--format", "json")
    (step,) = json.loads(done.stdout)["steps"]
    assert (step["probable"], step["margins"][0]["ulp"]) == ("float16", 8)


def test_the_answer_comes_first_and_the_reasons_after_it():
    lines = run("lattice", PASTED / "vllm_repr.txt").stdout.splitlines()
    assert lines[0] == "Logits were probably bf16; the top two are 27 ULP apart (3.375)"
    assert "· left out, masked tokens: 1 (-inf)" in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.json"], "cannot read none.json"),
        (["-", "--format", "xml"], "'xml' is not one of 'table'"),
        (["-", "--kind", "odds"], "unknown kind odds: choose one of logits, logprobs, probabilities"),
        (["-", "--dtype", "int8"], "unknown dtype int8: choose one of bfloat16, float16, float32, float64 (or bf16"),
    ],
)
def test_trouble_is_one_line_and_exit_code_2(arguments, words):
    done = run("lattice", *arguments, stdin="[1.5, 2.5]")
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
