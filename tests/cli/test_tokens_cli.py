"""The four commands, as a user calls them."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.measure.planted import planted_result
from tracediff.cli import app


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, list(map(str, arguments)), input=stdin)


@pytest.fixture
def result_file(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "flips.json"
    from tracediff.findings.flips_file import result_to_json

    path.write_text(json.dumps(result_to_json(planted_result())))
    return path


@pytest.mark.parametrize("command", ["flips", "lattice", "determinism", "explain"])
def test_every_command_is_listed_and_has_help_with_an_example(command):
    assert command in run("--help").stdout
    help_text = run(command, "--help").stdout
    assert "Example: tracediff" in help_text


@pytest.mark.parametrize(
    "spelling", [["--batch", "1", "2", "4"], ["--batch", "1,2,4"], ["--batch=1", "--batch", "2", "--batch", "4"]]
)
@pytest.mark.torch
def test_batch_sizes_are_given_as_people_spell_them(spelling):
    pytest.importorskip("torch")
    done = run(
        "flips", *spelling, "--dtypes", "float16", "float32", "--device", "cpu", "--random", 1, "--decode", 1,
        "--no-reference", "--format", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    settings = json.loads(done.stdout)["settings"]
    assert settings["batches"] == [1, 2, 4]
    assert settings["precisions"] == [["float16", False], ["float32", False]]
    assert settings["model"] == "tiny"


@pytest.mark.torch
def test_prompts_come_from_a_file(tmp_path):
    pytest.importorskip("torch")
    prompts, out = tmp_path / "prompts.txt", tmp_path / "flips.json"
    prompts.write_text("hello\n\nworld!\n")
    done = run("flips", "--prompts", prompts, "--device", "cpu", "--decode", 1, "--no-reference", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert [prompt["length"] for prompt in json.loads(out.read_text())["searches"][0]["prompts"]] == [5, 6]
    assert f"Wrote {out}" in done.stderr
    assert "Next: tracediff flips" in done.stderr


@pytest.mark.torch
def test_a_gguf_file_is_searched_with_its_chat_template_many_prompts_at_a_time(tmp_path):
    for package in ("torch", "transformers", "gguf", "accelerate"):
        pytest.importorskip(package)
    from tests.model.tiny_gguf import write_gguf

    weights, prompts, out = tmp_path / "Tiny.Q4_1.gguf", tmp_path / "prompts.jsonl", tmp_path / "flips.json"
    write_gguf(weights, "{% for message in messages %}<{{ message['content'] }}>{% endfor %}")
    prompts.write_text('{"prompt": "hi", "kind": "chat"}\n{"prompt": "you", "kind": "chat"}\n')
    done = run(
        "flips", "--model", weights, "--prompts", prompts, "--chat", "--cache", "static", "--dtypes", "bf16", "--batch",
        "1,2", "--device", "cpu", "--decode", 3, "--no-reference", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(out.read_text())
    assert [(prompt["length"], prompt["kind"]) for prompt in found["searches"][0]["prompts"]] == [
        (4, "chat"),
        (5, "chat"),
    ]
    assert (found["settings"]["model"], found["settings"]["cache"], found["settings"]["chat"]) == (
        "Tiny.Q4_1", "static", True,
    )  # fmt: skip
    assert any("dequantised from a GGUF file" in note for note in found["notes"])
    assert done.stderr.splitlines()[0].startswith("0 of 2: bfloat16, 2 prompts of up to 256 tokens")


@pytest.mark.torch
def test_a_stored_result_is_shown_with_its_flips(result_file):
    done = run("flips", result_file)
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) < 80
    assert "more flips not shown (--all shows them)" in done.stdout
    everything = run("flips", result_file, "--all").stdout
    assert "flips by margin at batch 1" in everything
    assert len(everything) > len(done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.torch
def test_json_of_a_stored_result_is_the_stored_result(result_file):
    assert json.loads(run("flips", result_file, "--format", "json").stdout) == json.loads(result_file.read_text())


@pytest.mark.torch
def test_the_page_is_written_once_and_not_replaced(result_file, tmp_path):
    page = tmp_path / "flips.html"
    assert run("flips", result_file, "--html", page).exit_code == 0
    again = run("flips", result_file, "--html", page)
    assert again.exit_code == 2
    assert "exists: add --force" in again.stderr
    assert run("flips", result_file, "--html", page, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flips", "--batch", "1", "--device", "cpu"], "two batch sizes"),
        (["flips", "--dtypes", "int8", "--device", "cpu"], "unknown dtype int8"),
        (["flips", "none.json"], "cannot read none.json"),
        (["flips", "--format", "xml"], "'xml' is not one of 'table'"),
        (["flips", "--prompts", "none.txt", "--device", "cpu"], "cannot read none.txt"),
        (["determinism", "--format", "xml"], "'xml' is not one of 'table'"),
        (["determinism", "--repeats", "1", "--device", "cpu"], "1 repeats"),
        (["determinism", "none.json"], "cannot read none.json"),
        (["explain", "none"], "is not a directory"),
        (["explain", ".", "--format", "xml"], "'xml' is not one of 'table'"),
    ],
)
def test_trouble_is_one_line_and_exit_code_2(arguments, words):
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.torch
def test_determinism_writes_what_it_shows(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "determinism.json"
    measured = ("--device", "cpu", "--dtypes", "float32", "--repeats", 2, "--no-model", "--out", out)
    done = run("determinism", *measured)
    assert done.exit_code == 0, done.stderr
    assert "deterministic settings" in run("determinism", out, "--all").stdout
    assert run("determinism", out).stdout == done.stdout
    assert json.loads(run("determinism", out, "--format", "json").stdout) == json.loads(out.read_text())


@pytest.mark.torch
def test_explain_reads_a_directory_and_checks_a_sampler(result_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_greedy.py").write_text("def pick(logits, temperature):\n    return logits.argmax(-1)\n")
    done = run("explain", tmp_path, "--sampler", "my_greedy:pick", "--format", "json")
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["judgement"] == "cannot tell"
    assert {each["answer"] for each in data["questions"] if "sampler" in each["question"]} == {"yes"}
    assert run("explain", tmp_path).stdout.startswith("CANNOT TELL")
    assert run("explain", tmp_path, "--format", "markdown").stdout.startswith("**cannot tell")


@pytest.mark.torch
@pytest.mark.parametrize("arguments", [["flips"], ["lattice"], ["explain"]])
def test_reading_results_imports_no_torch(arguments, result_file, tmp_path):
    pasted = tmp_path / "pasted.csv"
    pasted.write_text("1.5\n1.25\n")
    given = {"flips": result_file, "lattice": pasted, "explain": tmp_path}[arguments[0]]
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from typer.testing import CliRunner; from tracediff.cli import app\n"
        f"done = CliRunner().invoke(app, {[*arguments, str(given)]!r}); print(done.output); sys.exit(done.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
