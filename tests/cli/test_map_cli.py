"""`tracediff map`, `tracediff remedies` and `tracediff diff` of maps, as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.findings.maps import batch_map, forward, module
from tracediff.cli import app

PROFILES = Path(__file__).parents[2] / "profiles"
A = PROFILES / "maps" / "llama-3-8b-bfloat16-h100.json"
B = PROFILES / "maps" / "llama-3-8b-float16-h100.json"
REMEDIES = PROFILES / "remedies" / "llama-3-8b-float16-h100.json"


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def write(path, *modules):
    path.write_text(json.dumps(batch_map(*modules).to_dict()))
    return path


@pytest.mark.parametrize("command", ["map", "remedies"])
def test_the_commands_are_listed_and_have_help_with_an_example(command):
    assert command in run("--help").stdout
    assert "Example: tracediff" in run(command, "--help").stdout


def test_a_stored_map_is_shown_and_written_in_every_format(tmp_path):
    html, csv = tmp_path / "map.html", tmp_path / "map.csv"
    done = run("map", A, "--html", html, "--csv", csv, "--buckets", "1,2,4,8")
    assert done.exit_code == 0, done.stderr
    assert "buckets with equal bits" in done.stdout
    assert "<h1>" in html.read_text()
    assert csv.read_text().startswith("gpu,versions")
    document = json.loads(run("map", A, "--format", "json").stdout)
    assert document.pop("summary")
    assert document == json.loads(A.read_text())
    assert run("map", A, "--format", "csv").stdout == csv.read_text()


def test_an_output_is_never_replaced_unasked_and_never_the_input(tmp_path):
    page = tmp_path / "map.html"
    page.write_text("mine")
    assert run("map", A, "--html", page).exit_code == 2
    assert page.read_text() == "mine"
    assert run("map", A, "--out", A, "--force").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rows", "0-3"],
        ["--rows", "x"],
        ["--rows", "9-1"],
        ["--rows", "1-9999999"],
        ["--keys", "-1"],
        ["--remedy", "nothing"],
        ["--dtype", "int8"],
        ["--make-equal", "a"],
        ["--make-equal", "0-4"],
        ["--buckets", "1,2,x"],
        ["--buckets", "0"],
        ["--minutes", "-1"],
    ],
)
@pytest.mark.torch
def test_what_cannot_be_mapped_is_one_line_and_exit_code_2(arguments):
    pytest.importorskip("torch")
    done = run("map", "--device", "cpu", *arguments)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_diff_takes_maps_and_gates_them(tmp_path):
    a = write(tmp_path / "a.json", forward("aab"), module("aab", orders=["split-K 3", "split-K 3", "split-K 2"]))
    b = write(tmp_path / "b.json", forward("aab"), module("aaa", orders=["unsplit", "unsplit", "unsplit"]))
    done = run("diff", a, b)
    assert done.exit_code == 0, done.stderr
    assert "split-K 3 → unsplit" in done.stdout
    assert run("diff", a, b, "--fail-on", "order").exit_code == 1
    assert "1 × order" in run("diff", a, b, "--fail-on", "order").stderr
    assert run("diff", a, a, "--fail-on", "bits,order,classes,unknown").exit_code == 0
    assert run("diff", a, b, "--fail-on", "order-changed").exit_code == 2
    assert run("diff", a, b, b).exit_code == 2
    assert run("diff", a, b, "--format", "csv").exit_code == 2
    assert "--html is not made for maps" in run("diff", a, b, "--html", tmp_path / "page.html").stderr
    assert not (tmp_path / "page.html").exists()
    assert run("diff", a, tmp_path / "none.json").exit_code == 2
    assert json.loads(run("diff", a, b, "--format", "json").stdout)["kind"] == "map-diff"


def test_measured_maps_of_two_precisions_compare():
    done = run("diff", A, B)
    assert done.exit_code == 0, done.stderr
    assert "other models" in done.stdout


def test_stored_remedies_are_shown_in_every_format():
    assert "fixed-chunk" in run("remedies", REMEDIES).stdout
    assert run("remedies", REMEDIES, "--format", "markdown").stdout.startswith("**llama-3-8b")
    document = json.loads(run("remedies", REMEDIES, "--format", "json").stdout)
    assert document.pop("summary")
    assert document == json.loads(REMEDIES.read_text())
    assert run("remedies", REMEDIES, REMEDIES).exit_code == 2
    assert run("remedies", A).exit_code == 2


def test_stored_remedies_are_written_where_a_file_is_asked_for(tmp_path):
    copy = tmp_path / "copy.json"
    assert "fixed-chunk" in run("remedies", REMEDIES, "--out", copy).stdout
    assert json.loads(copy.read_text()) == json.loads(REMEDIES.read_text())
    assert run("remedies", REMEDIES, "--out", copy).exit_code == 2


def test_apply_prints_what_a_shell_and_a_program_need():
    text = run("remedies", "--apply", "fixed-chunk+no-workspace").stdout
    assert "export CUBLASLT_WORKSPACE_SIZE=0" in text
    assert "# fixed-chunk needs code" in text
    assert all(line.startswith(("#", "export ")) for line in text.splitlines())
    assert run("remedies", "--apply", "nothing").exit_code == 2


def test_apply_runs_a_command_with_what_can_be_set_and_says_what_cannot():
    code = "import os; print(os.environ['CUBLAS_WORKSPACE_CONFIG'], os.environ['CUBLASLT_WORKSPACE_SIZE'])"
    words = ["remedies", "--apply", "no-workspace+fused-norm", "--", sys.executable, "-c", code]
    done = subprocess.run([sys.executable, "-m", "tracediff", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ":0:0 0\n"
    assert "Not set: fused-norm needs code" in done.stderr
    assert run("remedies", "--apply", "no-workspace", "--", "/no/such/command").exit_code == 2
