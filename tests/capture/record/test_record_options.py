import sys

import pytest

from tracediff.capture.record.options import RecordOptions, StepRange
from tracediff.errors import TracediffError


def options(*command, **more):
    return RecordOptions(command=command or (sys.executable, "script.py"), **more)


@pytest.mark.parametrize(("text", "first", "past"), [("10:20", 10, 20), (":5", 0, 5), ("7:", 7, None), ("0:1", 0, 1)])
def test_steps_are_read_as_a_slice(text, first, past):
    assert StepRange.parse(text) == StepRange(first=first, past=past)


@pytest.mark.parametrize("text", ["", ":", "5", "a:b", "-1:3", "1:2:3", "3:3", "5:2", "1 : 2"])
def test_steps_that_are_none_are_refused_in_one_line(text):
    with pytest.raises(TracediffError, match="--steps"):
        StepRange.parse(text)


def test_a_program_that_is_not_there_is_refused_by_name():
    with pytest.raises(TracediffError, match="no-such-program was not found"):
        options("no-such-program")


def test_a_file_that_cannot_be_executed_is_refused(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print()")
    with pytest.raises(TracediffError, match="no program"):
        options(str(script))


def test_no_program_at_all_is_refused():
    with pytest.raises(TracediffError, match="no program to record"):
        RecordOptions(command=())


@pytest.mark.parametrize(
    "command",
    [
        ("/opt/nvidia/bin/nsys", "profile", "python", "x.py"),
        ("env", "A=1", "nsys", "profile", "python", "x.py"),
        ("bash", "-c", "cd /tmp && nsys profile python x.py"),
        ("sh", "-c", "'nsys' ; nsys launch python"),
    ],
)
def test_a_program_with_an_nsys_of_its_own_is_refused(command):
    with pytest.raises(TracediffError, match="an nsys of its own"):
        options(*command)


def test_a_program_that_only_mentions_nsys_is_recorded():
    assert options("sh", "-c", "echo nsys; cat nsys.log").command[0] == "sh"


@pytest.mark.parametrize("argument", ["-o x", "--output=x", "--session-new=mine", "--export sqlite", "-f true"])
def test_options_of_nsys_that_record_sets_itself_are_refused(argument):
    with pytest.raises(TracediffError, match="--nsys-args may not hold"):
        options(nsys_args=(argument,))


def test_options_of_nsys_are_read_as_a_shell_reads_them():
    assert options(nsys_args=("--cuda-memory-usage=true -s none", "--env-var='A=b c'")).nsys_options == (
        "--cuda-memory-usage=true",
        "-s",
        "none",
        "--env-var=A=b c",
    )


def test_an_open_quote_in_options_of_nsys_is_one_line():
    with pytest.raises(TracediffError, match="--nsys-args cannot be read"):
        options(nsys_args=("--env-var='A=b",))


def test_ranges_are_those_of_modules_of_blocks_or_none():
    with pytest.raises(TracediffError, match="unknown --ranges layers"):
        options(ranges="layers")
    with pytest.raises(TracediffError, match="--ranges none does not see"):
        options(ranges="none", steps=StepRange(first=0, past=1))


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ((sys.executable, "-u", "run/serve.py"), "record-serve"),
        (("sh", "start me.sh"), "record-start-me"),
        (("env",), "record-env"),
    ],
)
def test_the_folder_is_named_after_what_runs(command, name):
    assert options(*command).folder.name == name
