"""What `tracediff diff` writes where: every combination of its outputs is honoured or refused, none is ignored."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.profiles import FLOAT16
from tracediff.cli import app
from tracediff.cli.diff_outputs import HEEDED, Form

DATA = Path(__file__).parents[1] / "trace" / "data"
B1, B2 = DATA / "llama-two-blocks-b1.sqlite", DATA / "llama-two-blocks-b2.sqlite"
FULL = [FLOAT16 / f"b{batch}.sqlite" for batch in (1, 2, 8)]
OPTIONS = {
    Form.TABLE: [],
    Form.MARKDOWN: ["--format", "markdown"],
    Form.JSON: ["--format", "json"],
    Form.CSV: ["--format", "csv"],
    Form.SUMMARY: ["--summary"],
}
BEGINS = {
    Form.MARKDOWN: "## tracediff",
    Form.JSON: "{",
    Form.CSV: "phase,",
    Form.SUMMARY: f"{B1.name} → {B2.name}: ",
}
every_form = pytest.mark.parametrize("form", list(Form), ids=lambda form: form.split()[-1].strip("-"))


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in ("diff", *words)], env={"TERM": "dumb", "COLUMNS": "120"})


def looks_like(form, text):
    return "EXPECTED" in text or "CANNOT TELL" in text if form is Form.TABLE else text.startswith(BEGINS[form])


@every_form
@pytest.mark.parametrize("beside", [[], ["--html"], ["--save"]], ids=lambda words: "".join(words) or "alone")
@pytest.mark.parametrize("into_file", [False, True], ids=["stdout", "-o"])
def test_the_result_goes_where_it_is_sent_and_files_are_written_beside_it(tmp_path, form, beside, into_file):
    files = [tmp_path / "beside"] if beside else []
    output = ["-o", tmp_path / "result"] if into_file else []
    done = run(B1, B2, *OPTIONS[form], *beside, *files, *output)
    assert done.exit_code == 0, done.stderr
    assert all(path.stat().st_size for path in files)
    assert looks_like(form, (tmp_path / "result").read_text() if into_file else done.stdout)
    assert not into_file or done.stdout == ""


@every_form
def test_beside_a_page_on_standard_output_a_result_goes_to_a_file_or_is_refused(tmp_path, form):
    done = run(B1, B2, *OPTIONS[form], "--html", "-", "-o", tmp_path / "result")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert looks_like(form, (tmp_path / "result").read_text())
    done = run(B1, B2, *OPTIONS[form], "--html", "-")
    if form in (Form.TABLE, Form.SUMMARY):
        assert done.stdout.startswith("<!DOCTYPE html>")
        assert (BEGINS[Form.SUMMARY] in done.stderr) == (form is Form.SUMMARY)
    else:
        assert (done.exit_code, done.stdout) == (2, "")
        assert "has no place" in done.stderr


@pytest.mark.parametrize("named", ["table", "json", "markdown", "csv"])
def test_one_line_has_no_format(named):
    done = run(B1, B2, "--summary", "--format", named)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--summary is one line of text" in done.stderr


@every_form
@pytest.mark.parametrize("option", [["--module", "q_proj"], ["--sort", "time"], ["--all"], ["--unfold"], ["--kernels"]])
def test_an_option_that_a_form_does_not_heed_is_refused(form, option):
    name = {"--all": "everything"}.get(option[0], option[0].lstrip("-"))
    done = run(B1, B2, *OPTIONS[form], *option)
    assert done.exit_code == (0 if form in HEEDED[name] else 2), done.stderr
    if done.exit_code:
        assert f"{option[0]} means nothing with {form}" in done.stderr


def test_beside_a_gate_or_a_page_the_summary_takes_chosen_modules(tmp_path):
    chosen = ["--summary", "--module", "self_attn.q_proj"]
    failed = run(*FULL[:2], *chosen, "--fail-on", "bits")
    assert failed.exit_code == 1
    assert "32 modules with different bits on equal inputs" in failed.stderr
    assert run(*FULL[:2], *chosen, "--exit-code").exit_code == 1
    page = tmp_path / "report.html"
    paged = run(*FULL[:2], *chosen, "--html", page)
    assert paged.exit_code == 0
    assert paged.stdout == failed.stdout == run(*FULL[:2], "--summary").stdout
    assert "those of --module self_attn.q_proj" in page.read_text()


def test_a_page_on_standard_output_is_not_opened():
    done = run(B1, B2, "--html", "-", "--open")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--open cannot open" in done.stderr


@every_form
def test_why_a_comparison_may_mislead_is_said_on_standard_error_in_every_form(tmp_path, form):
    for words in ([], ["-o", tmp_path / "result"]):
        done = run(B1, DATA / "vllm-eager-b1.sqlite", *OPTIONS[form], *words)
        assert done.exit_code == 0
        assert done.stderr.count("Warning: ") >= 2


def test_the_one_line_bears_a_mark_where_there_are_warnings():
    line = run(B1, DATA / "vllm-eager-b1.sqlite", "--summary").stdout
    assert line.count("\n") == 1
    assert line.endswith(" warnings]\n")
    assert run(*FULL[:2], "--summary").stdout.startswith("batch 1 → batch 2: expected: ")


def test_the_page_that_is_suggested_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--html report.html --open" in run(B1, B2).stderr
    (tmp_path / "report.html").touch()
    (tmp_path / "report-2.html").touch()
    assert "--html report-3.html --open" in run(B1, B2).stderr


@pytest.mark.parametrize(
    ("command", "result", "page"),
    [
        ("map", FLOAT16.parent / "maps" / "llama-3-8b-float16-h100.json", "map"),
        ("flips", FLOAT16.parent / "tokens" / "flips_generate.json", "flips"),
    ],
)
def test_the_page_of_a_finished_result_that_is_suggested_can_be_written(tmp_path, monkeypatch, command, result, page):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{page}.html").touch()
    done = CliRunner().invoke(app, [command, str(result)])
    assert f"--html {page}-2.html" in done.stderr


# -- modules ----------------------------------------------------------------------------------------------------------


def modules_in(form, text):
    if form is Form.JSON:
        return {row["module"] for row in json.loads(text)["rows"]}
    if form is Form.CSV:
        return {line["module"] for line in csv.DictReader(io.StringIO(text))}
    # Behind the answer, which is of all modules.
    told = [part.partition("\n## ")[0] for part in text.replace("\\", "").split("those of --module lm_head")[1:]]
    return {word for word in ("q_proj", "o_proj", "norm", "lm_head") if any(word in part for part in told)}


@pytest.mark.parametrize("form", [Form.TABLE, Form.MARKDOWN, Form.JSON, Form.CSV])
@pytest.mark.parametrize("others", [1, 2], ids=["two traces", "three traces"])
def test_modules_are_selected_in_every_form(form, others):
    done = run(*FULL[: 1 + others], *OPTIONS[form], "--module", "lm_head", "--all")
    assert done.exit_code == 0, done.stderr
    assert modules_in(form, done.stdout) == {"lm_head"}


@pytest.mark.parametrize("traces", [FULL[:2], FULL])
def test_a_page_lists_the_modules_that_are_selected(tmp_path, traces):
    assert run(*traces, "--html", tmp_path / "page.html", "--module", "self_attn.q_proj").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "of 1,264 modules, those of --module self_attn.q_proj" in page
    listed = page[page.index("Listed below") :]
    assert "q_proj" in listed and "down_proj" not in listed


def test_json_says_that_modules_were_selected():
    document = json.loads(run(*FULL[:2], "--format", "json", "--module", "lm_head").stdout)
    assert document["selected"] == {"module": "lm_head", "rows": 3}
    assert document["summary"]["modules"] == 1264
    assert json.loads(run(*FULL[:2], "--format", "json", "--phase", "run").stdout)["selected"] is None


@every_form
def test_a_module_that_there_is_not_is_trouble_and_those_called_alike_are_named(form):
    done = run(*FULL[:2], *OPTIONS[form], "--module", "qproj")
    assert (done.exit_code, done.stdout) == (2, "")
    if form is not Form.SUMMARY:
        assert "no module matches 'qproj'" in done.stderr
        assert "q_proj" in done.stderr


def test_a_gate_counts_the_modules_that_are_selected_and_says_so():
    assert run(*FULL[:2], "--module", "lm_head", "--fail-on", "order-changed").exit_code == 0
    failed = run(*FULL[:2], "--module", "self_attn.q_proj", "--fail-on", "order-changed")
    assert failed.exit_code == 1
    assert "32 × order-changed (of 96 of 1,264 modules, those of --module self_attn.q_proj)" in failed.stderr
    assert "Failed: 259 × order-changed\n" in run(*FULL[:2], "--fail-on", "order-changed").stderr


@pytest.mark.parametrize(
    "trace", [FULL[0], *sorted(DATA.glob("*.sqlite")), FLOAT16.parent / "vllm" / "graphs-b1.sqlite"]
)
def test_every_name_on_the_screen_can_be_given_back(trace):
    shown = run(trace, trace, "--all").stdout
    headings = [line.split("   ")[0] for line in shown.split("\n\n")[2:]]
    phases = {heading.strip().rpartition(" ×")[0] or heading.strip() for heading in headings}
    assert phases
    for phase in phases:
        assert run(trace, trace, "--phase", phase).exit_code == 0, phase
    rows = csv.DictReader(io.StringIO(run(trace, trace, "--format", "csv").stdout))
    assert {row["phase"].split("[")[0] for row in rows if row["phase"]} == {
        phase.split("[")[0] for phase in phases - {"outside every range"}
    }
    lines = [line for line in shown.splitlines() if line.startswith("= ")]
    for name in {line.split()[1] for line in lines if line.split()[1] not in ("outside", "(no")}:
        assert run(trace, trace, "--module", name).exit_code == 0, name


def test_the_gate_of_measured_bits_counts_the_selected_modules_too():
    assert run(*FULL[:2], "--module", "lm_head", "--fail-on", "bits").exit_code == 0
    failed = run(*FULL[:2], "--module", "self_attn.q_proj", "--fail-on", "bits")
    assert failed.exit_code == 1
    assert "32 modules with different bits on equal inputs (of 96 of 1,264 modules" in failed.stderr
    assert "logits" not in failed.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--module", "(no module)"), "no bits of 1 module (of --module (no module)) were measured of"),
        (("--phase", "run"), "no bits of run were measured of"),
    ],
)
def test_a_gate_of_bits_that_were_not_measured_is_refused_before_anything_is_written(option, words, tmp_path):
    page = tmp_path / "report.html"
    refused = run(*FULL[:2], *option, "--fail-on", "bits", "--html", page)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert words in refused.stderr
    assert "other bits were" in refused.stderr
    assert not page.exists()
