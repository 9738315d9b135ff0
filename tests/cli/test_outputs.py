"""Where results go: a file on standard output stands alone there, and no input is ever replaced."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "trace" / "data"
PROFILES = Path(__file__).parents[2] / "profiles"
B1, B2 = (DATA / f"llama-two-blocks-b{batch}.sqlite" for batch in (1, 2))
FLIPS = PROFILES / "tokens" / "flips_generate.json"
DETERMINISM = PROFILES / "tokens" / "determinism.json"
REMEDIES = PROFILES / "remedies" / "llama-3-8b-bfloat16-h100.json"
MAP = PROFILES / "maps" / "llama-3-8b-float16-h100.json"


def run(*words, **options):
    command = [sys.executable, "-m", "tracediff", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False, **options)


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
@pytest.mark.parametrize(
    ("words", "begins", "ends"),
    [
        (["diff", B1, B2, "--html"], b"<!DOCTYPE html>", b"</html>"),
        (["diff", B1, B2, "--summary", "--html"], b"<!DOCTYPE html>", b"</html>"),
        (["show", B1, "--save"], b"SQLite format 3\x00", None),
        (["map", MAP, "--csv"], b"gpu,versions,", b"\n"),
        (["map", MAP, "--out"], b'{"schema":1,"kind":"map"', b"}\n"),
        (["determinism", DETERMINISM, "--out"], b"{\n", b"\n}\n"),
        (["flips", FLIPS, "--out"], b'{"schema":2,"kind":"flips"', b"}\n"),
    ],
    ids=lambda value: value[0] + value[-1] if isinstance(value, list) else None,
)
def test_a_file_on_standard_output_stands_alone_there(words, begins, ends, name):
    done = run(*words, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(begins)
    assert b"Wrote" not in done.stderr
    assert ends is None or done.stdout.endswith(ends)
    if begins.startswith(b"SQLite"):
        pages = int.from_bytes(done.stdout[28:32], "big")
        assert len(done.stdout) == pages * int.from_bytes(done.stdout[16:18], "big")


def test_two_files_do_not_fit_on_standard_output():
    done = run("diff", B1, B2, "--html", "-", "--save", "/dev/stdout")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cannot hold two outputs" in done.stderr


def test_one_file_named_in_two_ways_cannot_hold_two_outputs(tmp_path):
    done = run("diff", B1, B2, "--html", "x", "--save", "./y/../x", cwd=tmp_path)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["diff", "--help"], ["--version"], ["show", B1], ["name", "gemm"]])
def test_nobody_who_reads_is_no_failed_gate(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tracediff", *map(str, words)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("map", MAP, "--rows", "1-64"),
        ("flips", FLIPS, "--batch", "1", "2"),
        ("determinism", DETERMINISM, "--repeats", "3"),
        ("remedies", REMEDIES, "--rounds", "2"),
    ],
)
def test_an_option_of_the_measurement_is_not_ignored_where_a_result_is_shown(words):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"tracediff: {words[2]} is an option of the measurement")


def test_what_is_applied_is_not_measured():
    done = run("remedies", "--apply", "no-workspace", "--rounds", "2")
    assert done.returncode == 2
    assert b"--rounds means nothing with --apply" in done.stderr


def test_a_reader_that_goes_away_is_no_trouble():
    command = f"{sys.executable} -m tracediff diff {B1} {B2} --html - | head -c 20"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert done.stdout == "<!DOCTYPE html>\n<htm"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "option", "source"),
    [("flips", "--html", FLIPS), ("determinism", "--out", DETERMINISM), ("map", "--html", MAP), ("map", "--out", MAP)],
)
def test_a_result_is_never_replaced_by_what_is_made_of_it(tmp_path, command, option, source):
    path = tmp_path / "result.json"
    path.write_bytes(source.read_bytes())
    done = run(command, path, option, path, "--force")
    assert done.returncode == 2
    assert b"is an input" in done.stderr
    assert json.loads(path.read_bytes()) == json.loads(source.read_bytes())


def test_the_folder_that_a_broken_link_leads_to_is_named(tmp_path):
    link = tmp_path / "report.html"
    link.symlink_to(tmp_path / "none" / "report.html")
    done = run("diff", B1, B2, "--html", link)
    assert done.returncode == 2
    assert f"{tmp_path}/none is not a directory".encode() in done.stderr


@pytest.mark.parametrize("words", [["diff", "pipe", "pipe"], ["show", "pipe"], ["explain", "capture"]])
def test_nothing_waits_for_a_pipe_that_is_no_trace(tmp_path, words):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "capture").mkdir()
    os.mkfifo(tmp_path / "capture" / "flips.json")
    done = run(*words, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_manifest_that_is_a_pipe_is_none(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    (tmp_path / "report.html").write_text("old")
    assert run("diff", B1, B2, "--html", tmp_path / "report.html", "--force", timeout=60).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["show", B1, "--format", "csv", "--save", "-"],
        ["map", MAP, "--format", "json", "--csv", "-"],
        ["flips", FLIPS, "--format", "json", "--html", "-"],
        ["determinism", DETERMINISM, "--format", "json", "--out", "-"],
        ["remedies", REMEDIES, "--format", "csv", "--out", "-"],
    ],
    ids=lambda words: words[0],
)
def test_a_format_that_would_not_be_printed_is_refused(words):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--format has nothing to print" in done.stderr


@pytest.mark.parametrize("option", [["--format", "json"], ["--phase", "prefill"], ["--save", "x"], ["--unfold"]])
def test_an_option_that_the_coverage_does_not_heed_is_refused(option):
    done = run("show", B1, "--explain-coverage", *option)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"{option[0]} means nothing with --explain-coverage".encode() in done.stderr
