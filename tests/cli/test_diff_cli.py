"""`tracediff diff` and `show` as a user meets them: output, exit codes, files."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.profiles import BFLOAT16, FLOAT16
from tracediff.cli import app

B1, B2, B8 = (str(FLOAT16 / f"b{batch}.sqlite") for batch in (1, 2, 8))


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_table_fits_80_columns_and_tells_what_matters():
    result = run("diff", B1, B2)
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "EXPECTED" in result.stdout
    assert "\x1b" not in result.stdout


def test_one_modules_cells_say_what_changed():
    result = run("diff", B1, B2, "--phase", "prefill", "--format", "markdown")
    line = next(line for line in result.stdout.splitlines() if "q\\_proj" in line and line.startswith("|"))
    assert line.startswith("| ≠ | q\\_proj o\\_proj | 0–31 | nvjet 128x8\\_64x12\\_4x1 → 64x16\\_64x16\\_2x1 |")
    assert "| 3 → 2 | ≤ 1.1 % differ |" in line


def test_json_is_clean_on_stdout_and_talk_is_on_stderr(tmp_path):
    result = run("diff", B1, B2, "--format", "json", "--html", tmp_path / "r.html")
    assert json.loads(result.stdout)["schema"] == 2
    assert "Wrote" in result.stderr


def test_csv_can_be_read_back():
    lines = list(csv.DictReader(io.StringIO(run("diff", B1, B2, "--format", "csv").stdout)))
    assert sum(line["role_a"] == "splitk_reduce" and line["phase"] == "prefill" for line in lines) == 5 * 32


def test_only_the_phase_asked_for_is_compared():
    rows = json.loads(run("diff", B1, B2, "--phase", "decode[0]", "--format", "json").stdout)["rows"]
    assert {row["phase"] for row in rows} == {"decode[0]"}


def test_a_trace_against_itself_has_the_same_kernels_everywhere():
    result = run("diff", B1, B1, "--format", "json", "--exit-code")
    assert result.exit_code == 0
    verdicts = json.loads(result.stdout)["summary"]["verdicts"]
    assert verdicts["same-kernels"] == sum(verdicts.values()) > 0


def test_gates_exit_1_only_when_asked_and_failed():
    assert run("diff", B1, B2).exit_code == 0
    assert run("diff", B1, B2, "--exit-code").exit_code == 1
    failed = run("diff", B1, B2, "--fail-on", "order-changed,unknown")
    assert failed.exit_code == 1
    assert "order-changed" in failed.stderr
    assert run("diff", B1, B1, "--fail-on", "order-changed").exit_code == 0


def test_a_gate_on_no_verdict_is_trouble_not_a_pass():
    result = run("diff", B1, B2, "--fail-on", "order_changed")
    assert result.exit_code == 2
    assert "is not a verdict" in result.stderr


@pytest.mark.parametrize("option", ["--range", "--phase-range"])
def test_a_pattern_that_matches_no_range_is_trouble_and_no_answer_without_phases(option):
    result = run("diff", B1, B2, option, "zzz")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"no range matches {option} 'zzz'" in result.stderr


def test_every_output_says_that_the_answer_is_of_the_whole_run_where_one_phase_is_shown():
    for options in ([], ["--summary"], ["--format", "markdown"]):
        shown = " ".join(run("diff", B1, B2, "--phase", "decode[0]", *options).stdout.split())
        assert "of the whole run" in shown
    assert "(of the whole run)" in run("diff", B1, B2, B8, "--phase", "decode[0]").stdout
    found = json.loads(run("diff", B1, B2, "--phase", "decode[0]", "--format", "json").stdout)
    assert found["answer"]["shown"] == ["decode[0]"]
    assert found["answer"]["judgement"] == "expected"
    assert "split-K 3 → 2 in q_proj and o_proj (prefill)" in found["answer"]["cause"]


def test_measured_bits_are_a_gate_of_their_own():
    """The traces of bfloat16 predict that orders changed, and not a bit differs."""
    bf16 = [str(BFLOAT16 / f"b{batch}.sqlite") for batch in (1, 2)]
    assert run("diff", *bf16, "--fail-on", "order-changed").exit_code == 1
    assert run("diff", *bf16, "--fail-on", "bits").exit_code == 0
    failed = run("diff", B1, B2, "--fail-on", "bits")
    assert failed.exit_code == 1
    assert "logits differ in bits in 3 phases, 68 modules with different bits on equal inputs" in failed.stderr
    assert run("diff", B2, B8, "--fail-on", "bits").exit_code == 2  # batch 2 was never compared with batch 8


@pytest.mark.parametrize("option", ["--html", "--save"])
def test_an_existing_file_is_kept_unless_forced(tmp_path, option):
    path = tmp_path / "mine"
    path.write_text("precious")
    refused = run("diff", B1, B2, option, path)
    assert refused.exit_code == 2
    assert "add --force" in refused.stderr
    assert path.read_text() == "precious"
    assert run("diff", B1, B2, option, path, "--force").exit_code == 0
    assert path.read_bytes()[:8] != b"precious"


@pytest.mark.parametrize("command", [["diff", B1], ["show"]])
def test_trouble_is_one_line_and_exit_code_2(tmp_path, command):
    missing = tmp_path / "none.sqlite"
    result = run(*command, missing)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert str(missing) in result.stderr
    assert not missing.exists()


def test_show_prints_the_kernel_table():
    result = run("show", B1, "--phase", "prefill")
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "self_attn.q_proj" in result.stdout


def test_show_as_json_counts_every_kernel_once():
    shown = json.loads(run("show", B1, "--format", "json").stdout)
    assert sum(len(row["kernels"]) for row in shown["rows"]) == shown["trace"]["coverage"]["kernels"]


def test_an_unknown_format_of_show_is_trouble():
    assert run("show", B1, "--format", "xml").exit_code == 2


@pytest.mark.parametrize("start", [["-m", "tracediff"], ["-c", "from tracediff.__main__ import main; main()"]])
def test_a_reader_that_stops_reading_is_no_trouble(start):
    process = subprocess.Popen(
        [sys.executable, *start, "diff", B1, B2, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    process.stdout.read(10)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


def test_reading_and_diffing_import_neither_torch_nor_pandas():
    code = (
        "import sys; from typer.testing import CliRunner; from tracediff.cli import app;"
        f"assert CliRunner().invoke(app, ['diff', {B1!r}, {B2!r}]).exit_code == 0;"
        "print([name for name in ('torch', 'transformers', 'pandas', 'plotly', 'nvtx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_every_command_and_each_has_an_example_or_says_what_it_does():
    overview = run("--help").stdout
    for command in ("capture", "diff", "show", "name", "doctor"):
        assert command in overview
        assert run(command, "--help").exit_code == 0


def test_several_traces_stand_side_by_side():
    result = run("diff", B1, B2, B8, "--phase", "prefill")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line == "k_proj ×32")
    reference, second, third = (line.split(None, 1) for line in lines[place + 1 : place + 4])
    assert reference[0] == "0" and reference[1].startswith("nvjet 64×8×64, ")
    assert second[0] == "1" and second[1].startswith("= measured equal, nvjet 64×8×64, split-K 3 → 3")
    assert third[0] == "2" and third[1].startswith("≠ measured different bits, nvjet 64×16×64, split-K 3 → 2")


def test_several_traces_as_json_hold_one_entry_per_trace():
    many = json.loads(run("diff", B1, B2, B8, "--phase", "prefill", "--format", "json").stdout)
    assert [trace["batch"] for trace in many["traces"]] == [1, 2, 8]
    row = next(row for row in many["rows"] if row["module"] == "model.layers.3.self_attn.q_proj")
    assert row["split_k"][:2] == [3, 2]
    assert len(row["kernels"]) == len(row["splitk_reduce"]) == 3
    assert row["verdicts"] == ["order-changed", "order-changed"]


def test_several_traces_fail_a_gate_when_one_does():
    assert run("diff", B1, B1, B2, "--fail-on", "order-changed").exit_code == 1
    assert run("diff", B1, B1, B1, "--exit-code").exit_code == 0


def test_three_traces_fill_one_page_one_database_one_markdown_and_one_csv(tmp_path):
    result = run("diff", B1, B2, B8, "--html", tmp_path / "r.html", "--save", tmp_path / "s.sqlite")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "r.html").read_text()
    assert "2 traces against 0: b1.sqlite (batch 1)" in page
    assert page.count("<strong>EXPECTED</strong>") == 2
    assert len(page) < 200_000
    assert "<script" not in page
    assert run("diff", B1, B2, B8, "--format", "markdown").stdout.count("## tracediff: EXPECTED") == 2
    lines = list(csv.DictReader(io.StringIO(run("diff", B1, B2, B8, "--format", "csv").stdout)))
    assert {line["trace"] for line in lines} == {"1", "2"}


def test_the_summary_is_one_line_per_trace():
    lines = run("diff", B1, B2, B8, "--summary").stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["batch 1 → batch 2", "batch 1 → batch 8"]
    assert all("expected: logits differ, no token flipped" in line for line in lines)


def test_modules_can_be_chosen_and_the_answer_stays_that_of_the_whole():
    shown = run("diff", B1, B2, "--module", "mlp").stdout
    assert "q_proj o_proj" not in shown and "down_proj" in shown
    assert "Cause: split-K 3 → 2 in q_proj and o_proj" in " ".join(shown.split())
    assert run("diff", B1, B2, "--module", "(").exit_code == 2


def test_full_kernel_names_are_printed_on_request():
    shown = "".join(run("diff", B1, B2, "--kernels").stdout.split())
    assert "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT" in shown


def test_the_result_goes_to_a_file_on_request(tmp_path):
    result = run("diff", B1, B2, "-o", tmp_path / "out.txt")
    assert result.stdout == ""
    assert "EXPECTED" in (tmp_path / "out.txt").read_text()
    assert run("diff", B1, B2, "-o", tmp_path / "out.txt").exit_code == 2


def test_an_input_is_never_replaced(tmp_path):
    copy = tmp_path / "trace.sqlite"
    copy.write_bytes((FLOAT16 / "b1.sqlite").read_bytes())
    before = copy.read_bytes()
    for option in ("--html", "--save"):
        result = run("diff", copy, B2, option, copy, "--force")
        assert result.exit_code == 2
        assert "is an input" in result.stderr
    assert run("show", copy, "--save", copy, "--force").exit_code == 2
    assert copy.read_bytes() == before


def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    real = os.stat

    def refuse(path, *arguments, **options):
        if str(path).endswith("secret.sqlite"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    (tmp_path / "secret.sqlite").touch()
    monkeypatch.setattr(os, "stat", refuse)
    result = run("show", tmp_path / "secret.sqlite")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "ermission denied" in result.stderr


@pytest.mark.parametrize("output", [["--format", "json"], ["--all", "--unfold"]])
def test_a_full_disk_is_one_line_and_exit_code_2(output):
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device, opened for its failure
        done = subprocess.run(
            [sys.executable, "-m", "tracediff", "diff", B1, B2, *output],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr


def test_a_reader_that_leaves_the_table_is_not_a_failed_gate():
    command = f"{sys.executable} -m tracediff diff {B1} {B2} --all --unfold | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_the_next_command_can_be_pasted_whatever_a_file_is_called(tmp_path):
    copy = tmp_path / "it's $(id).sqlite"
    copy.write_bytes((FLOAT16 / "b1.sqlite").read_bytes())
    line = next(line for line in run("diff", copy, B2).stderr.splitlines() if line.startswith("Next: "))
    assert shlex.split(line)[3] == str(copy)


@pytest.mark.parametrize("width", [30, 40, 60])
def test_a_narrow_terminal_still_reads_everything(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    result = run("diff", B1, B2, "--phase", "prefill")
    assert max(map(len, result.stdout.splitlines())) <= width
    text = " ".join(result.stdout.split())
    assert "≠ q_proj o_proj 0–31" in text
    assert "≤ 1.1 % differ" in text
    assert "split-K 3 → 2" in text


def test_between_chooses_a_shape_of_each_of_two_traces():
    rows = json.loads(run("diff", B1, B2, "--between", "1x6", "--between", "2x6", "--format", "json").stdout)["rows"]
    assert {row["phase"] for row in rows} == {"prefill"}
    assert all(row["a"] and row["b"] for row in rows)


@pytest.mark.parametrize(
    ("traces", "shapes", "told"),
    [
        ((B1, B2), ("1x6", "1x6"), "b2.sqlite has no step of shape 1x6: it has 2x1, 2x6"),
        ((B1, B2, B8), ("1x6", "2x6"), "--between compares steps within one trace or of two: name one trace or two"),
        ((B1, B2), ("1x6",), "--between takes two shapes, not 1: give --between 1x1 8x1"),
    ],
)
def test_shapes_that_cannot_be_compared_are_one_line(traces, shapes, told):
    result = run("diff", *traces, *(word for shape in shapes for word in ("--between", shape)))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith(told)
