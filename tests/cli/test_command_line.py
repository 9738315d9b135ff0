"""What every command does with a wrong command line and with an output that cannot hold every sign."""

import os
import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from tests.profiles import FLOAT16
from tracediff.cli import app
from tracediff.cli.application import COMMANDS, OLD_SPELLINGS

WRONG = [
    (["nope"], "tracediff: No such command 'nope' (see tracediff --help)"),
    (["dif"], "tracediff: No such command 'dif'. Did you mean 'diff'? (see tracediff --help)"),
    (["--nope"], "tracediff: No such option: --nope (see tracediff --help)"),
    (["lattice"], "tracediff lattice: Missing argument 'FILE' (see tracediff lattice --help)"),
    (["ingest", "x"], "tracediff ingest: Missing option '--out' (see tracediff ingest --help)"),
    (
        ["name", "--format", "xml", "x"],
        "tracediff name: Invalid value for '--format': 'xml' is not one of 'table', 'json' (see tracediff name --help)",
    ),
    (["flips", "--batch"], "tracediff flips: Option '--batch' requires an argument (see tracediff flips --help)"),
]


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tracediff", *map(str, arguments)],
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
        timeout=120,
    )


@pytest.mark.parametrize(("arguments", "line"), WRONG)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments, line):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode() == f"{line}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_an_unknown_option_in_one_line(command):
    done = CliRunner().invoke(app, [command, "--no-such-option"])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "No such option: --no-such-option" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["diff", "a", "b"], ["doctor"], ["explain", "."], ["fleet", "x"], ["flips"], ["determinism"], ["lattice", "-"]],
)
def test_a_format_that_a_command_lacks_is_refused_with_those_it_has(arguments):
    done = CliRunner().invoke(app, [*arguments, "--format", "xml"])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "'xml' is not one of" in done.stderr
    assert "'json'" in done.stderr
    assert "Value error" not in done.stderr


def test_the_chosen_command_alone_is_imported():
    code = "import sys; from tracediff.cli import app; app(['name', 'k'], standalone_mode=False); print([*sys.modules])"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [name for name in COMMANDS if f"'tracediff.cli.{name}'" in modules] == ["name"]
    assert "'numpy'" not in modules and "'rich.console'" not in modules


def test_no_command_prints_the_help():
    done = run()
    assert b"Usage: tracediff" in done.stdout + done.stderr


def test_help_lists_the_formats_of_a_command():
    assert b"table|json|markdown" in run("explain", "--help", COLUMNS="120").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command):
    assert "Example: " in CliRunner().invoke(app, [command, "--help"]).stdout


def test_help_breaks_its_lines_where_the_terminal_ends_and_not_where_the_docstring_does():
    told = run("lattice", "--help", COLUMNS="200").stdout.decode()
    assert "vLLM, SGLang and llama.cpp, JSON Lines, `data:` streams" in told


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["doctor"],
        ["diff", "--help"],
        ["name", "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_TNT"],
        ["diff", FLOAT16 / "b1.sqlite", FLOAT16 / "b2.sqlite"],
    ],
)
def test_signs_that_the_output_cannot_hold_are_written_as_escapes(arguments, encoding):
    done = run(*arguments, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 or arguments == ["doctor"], done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout


def test_a_message_with_such_signs_is_still_one_line():
    done = run("no→such", PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"\\u2192" in done.stderr


def test_names_are_shown_in_blocks_and_none_is_lost_when_the_reader_goes_away():
    names = "".join(f"nvjet_sm90_hsh_128x{8 * number}_64x12_4x1_v_bz_TNT\n" for number in range(1, 5001))
    command = f"{sys.executable} -m tracediff name - | head -3"
    done = subprocess.run(command, shell=True, input=names, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == [
        " tile 128×8×64",
        " tile 128×16×64",
        " tile 128×24×64",
    ]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")],
)
def test_a_machine_without_enough_memory_is_one_line(monkeypatch, error):
    def fail(_line):
        raise error

    monkeypatch.setattr("tracediff.cli.name.name_in_row", fail)
    done = CliRunner().invoke(app, ["name", "-"], input="gemm\n")
    assert done.exit_code == 2
    assert done.stderr == "tracediff: out of memory: use a smaller input, batch, prompt or model\n"


@pytest.mark.parametrize(
    ("old", "today"),
    [
        (["map", "--setting", "x", "--range", "1-9"], ["--remedy", "x", "--make-equal", "1-9"]),
        (["map", "--setting=x"], ["--remedy=x"]),
        (["remedies", "--settings", "a", "b"], ["--remedy", "a", "b"]),
        (["remedies", "--apply", "x", "--", "run", "--settings"], ["--apply", "x", "--", "run", "--settings"]),
        (["diff", "--range", "x"], ["--range", "x"]),
        (["name", "--format", "text"], ["--format", "table"]),
        (["fleet", "--format=text"], ["--format=table"]),
        (["name", "text"], ["text"]),
        (["record", "run", "--format", "text"], ["run", "--format", "text"]),
    ],
)
def test_what_an_option_was_called_before_is_still_taken(old, today):
    commands = typer.main.get_command(app)
    context = commands.make_context("tracediff", list(old))
    assert commands.resolve_command(context, list(old))[2] == today


@pytest.mark.parametrize("command", OLD_SPELLINGS)
def test_help_names_an_option_once(command):
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    for old, today in OLD_SPELLINGS[command].items():
        assert f"{today} " in shown
        assert f"{old} " not in shown


def test_every_command_prints_for_people_by_the_same_word():
    for command in COMMANDS:
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
        assert "--format" not in shown or "<table|json" in shown
    text, table = (CliRunner().invoke(app, ["name", "gemm", "--format", word]) for word in ("text", "table"))
    assert (text.exit_code, text.stdout) == (0, table.stdout)
