"""Options that several commands share, and where their output goes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from tracediff.errors import TracediffError
from tracediff.streams import standard_output

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


class Format(StrEnum):
    """How a diff is printed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    CSV = "csv"


class Order(StrEnum):
    """In which order modules are told."""

    SEVERITY = "severity"
    TIME = "time"
    ORDER = "order"


class TableJson(StrEnum):
    """The formats of a command that prints a table or JSON."""

    TABLE = "table"
    JSON = "json"


class TableJsonCsv(StrEnum):
    """The same for a table whose rows are also CSV."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class TableJsonMarkdown(StrEnum):
    """The same for a result that is also Markdown."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


#: The option `--format` of every command; its type is the enum of the formats that the command has, so that typer
#: lists them in the help and refuses others.
FORMAT_OPTION = typer.Option("--format", help="How to print the result.")


#: A narrower terminal (or COLUMNS=0, in which rich prints nothing) wraps the lines itself.
_NARROWEST = 30


def stdout_console(no_color: bool = False) -> Console:
    """Make the console for data: as wide as the terminal, 80 columns in a pipe; NO_COLOR is respected."""
    from rich.console import Console

    class Stdout(Console):
        def on_broken_pipe(self) -> None:
            # rich exits with 1, which is the code of a failed gate; who stopped reading is told apart elsewhere.
            raise BrokenPipeError

    standard_output()
    console = Stdout(highlight=False, markup=False, emoji=False, soft_wrap=False, no_color=True if no_color else None)
    console.width = max(console.width, _NARROWEST)
    return console


@contextmanager
def console_for(output: Path | None, no_color: bool, force: bool) -> Iterator[Console]:
    """Make the console for data, or one whose text goes to a file, without colours."""
    if output is None:
        yield stdout_console(no_color)
        return
    import io

    from rich.console import Console

    from tracediff.files import write_text

    text = io.StringIO()
    yield Console(file=text, highlight=False, markup=False, emoji=False, soft_wrap=False, no_color=True)
    write_text(output, text.getvalue(), force)
    say_written(output)


def regex(pattern: str, option: str) -> re.Pattern[str]:
    """Compile what the user gave.

    Raises:
        TracediffError: It is no regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise TracediffError(f"{option} {pattern!r} is no regular expression", str(error)) from error


def say(text: str) -> None:
    """Print a message for the user to stderr."""
    from tracediff.text import printable

    typer.echo(printable(text), err=True)


def say_written(path: Path) -> None:
    """Tell the user which file was written; of what went to standard output nothing is said."""
    from tracediff.files import is_stdout

    if not is_stdout(path):
        say(f"Wrote {path}")


#: Behind an option's name, where a stored result is shown and the option would be ignored.
OF_A_MEASUREMENT = "is an option of the measurement, and this result is measured already"


def given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line; `name` is the parameter's in Python."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_ignored_options(context: typer.Context, heeded: Collection[str], why: str) -> None:
    """Refuse an option that was given and would be ignored.

    Args:
        context: Of the command.
        heeded: The parameters that mean something, by their names in Python.
        why: What is said of any other, behind its name.

    Raises:
        TracediffError: Such an option was given.
    """
    for parameter in context.command.params:
        if parameter.name not in heeded and given(context, parameter.name or ""):
            raise TracediffError(f"{parameter.opts[0]} {why}", "leave it out")


def refuse_lost_format(context: typer.Context, *files: Path | None) -> None:
    """Refuse a format that was asked for where a file takes standard output, so that nothing is printed.

    Raises:
        TracediffError: It is so.
    """
    if given(context, "output_format") and not stdout_is_free(*files):
        raise TracediffError("--format has nothing to print: a file takes standard output", "leave one of them out")


def write_again(document: dict[str, Any], out: Path | None, force: bool) -> None:
    """Write the JSON form of a finished result that was read back, where a file was asked for."""
    if out is not None:
        from tracediff.files import write_text
        from tracediff.text import json_text

        write_text(out, json_text(document) + "\n", force)
        say_written(out)


def emit(text: str) -> None:
    """Print data to stdout exactly as it is, as UTF-8."""
    stdout = standard_output()
    stdout.flush()
    stdout.buffer.write(text.encode("utf-8", errors="backslashreplace"))
    stdout.flush()


def stdout_is_free(*files: Path | None) -> bool:
    """Whether a result may be printed: none of the files that were asked for goes to standard output."""
    from tracediff.files import is_stdout

    return not any(is_stdout(path) for path in files if path is not None)


def command_line(*words: str | Path) -> str:
    """Write a command so that a shell reads it as it is meant, whatever a file is called."""
    return shlex.join(str(word) for word in words)


def free_name(path: Path) -> Path:
    """Return a file's name that is not taken yet, for a suggestion: `report.html`, `report-2.html`, …"""
    from itertools import chain, count

    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(each for each in chain([path], numbered) if not each.exists() and not each.is_symlink())


def open_in_browser(path: Path) -> None:
    """Open a report in the browser, or say where it is when none can be opened."""
    import webbrowser

    if not webbrowser.open(path.absolute().as_uri()):
        say(f"No browser found; the report is {path}")
