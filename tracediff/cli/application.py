"""The group of commands: each is imported when it is chosen; exit codes and error lines stand in one place."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Any

import click

from tracediff.errors import TracediffError
from tracediff.text import printable

GATE_FAILED = 1
TROUBLE = 2
INTERRUPTED = 130


class Commands(click.Group):
    """The commands; turns a TracediffError and a wrong command line into one line on stderr and exit code 2.

    Args:
        names: The commands in the order of the help. Each is a function of its own name in the module of that name in
            this package; only the chosen one is imported, as start-up is felt.
    """

    def __init__(self, *args: Any, names: tuple[str, ...] = (), **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.names = names

    def list_commands(self, ctx: click.Context | None = None) -> list[str]:
        """Return the names of the commands."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.names:
            return None
        command: click.Command = getattr(import_module(f"tracediff.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, in full; click alone cuts it off at the edge."""
        commands = [(name, self.get_command(ctx, name)) for name in self.names]
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(limit=1000)) for name, each in commands if each])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the options that stand before the command."""
        if not args:
            return super().make_context(info_name, args, parent, **extra)  # click prints the help
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _refused(error, info_name or "tracediff") from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except TracediffError as error:
            click.echo(f"tracediff: {printable(str(error))}", err=True)
            raise click.exceptions.Exit(TROUBLE) from error
        except BrokenPipeError:
            # The reader of our output went away (`| head`): nothing is wrong, and Python must not complain at exit.
            sys.stdout = None
            raise click.exceptions.Exit(0) from None
        except OSError as error:
            # What the machine refuses (a full disk, a file without permission) is the user's to mend, not a bug.
            place = f"{error.filename}: " if error.filename else ""
            click.echo(f"tracediff: {printable(place)}{error.strerror or error}", err=True)
            raise click.exceptions.Exit(TROUBLE) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except click.UsageError as error:
            raise _refused(error, " ".join(filter(None, [ctx.command_path, ctx.invoked_subcommand]))) from error
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            traceback.print_exc()
            click.echo("tracediff: this is a bug in tracediff; please report it with the lines above", err=True)
            raise click.exceptions.Exit(TROUBLE) from error


def _refused(error: click.UsageError, place: str) -> click.exceptions.Exit:
    """Say in one line what is wrong with the command line, and where the right one is described."""
    command = error.ctx.command_path if error.ctx is not None else place
    message = " ".join(error.format_message().split()).rstrip(".")
    click.echo(f"{printable(f'{command}: {message}')} (see {command} --help)", err=True)
    return click.exceptions.Exit(TROUBLE)


class Argument(click.Argument):
    """An argument with a line of help, which click's own lack."""

    def __init__(self, *args: Any, help: str, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.words = help


class SeveralValues(click.Option):
    """An option that takes several values: `--batch 1 2`, `--batch 1,2`, `--batch 1 --batch 2`."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **{**extra, "multiple": True})


class Command(click.Command):
    """A command whose arguments have help, and whose options may take several values."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments before the options."""
        arguments = [(each.make_metavar(ctx), each.words) for each in self.params if isinstance(each, Argument)]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        super().format_options(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of an option that takes several values before each further value, then parse.

        Click's options take one value each.
        """
        several = {name for each in self.params if isinstance(each, SeveralValues) for name in each.opts}
        return super().parse_args(ctx, _repeat_names(args, several) if several else args)


def _repeat_names(args: list[str], several: set[str]) -> list[str]:
    """Turn `--batch 1 2` and `--batch 1,2` into `--batch 1 --batch 2`."""
    spread: list[str] = []
    option: str | None = None
    for position, argument in enumerate(args):
        if argument == "--":
            spread += args[position:]
            break
        name, equals, value = argument.partition("=")
        if name in several:
            option = name
            if equals:
                spread += _repeated(name, value)
        elif option is not None and not argument.startswith("-"):
            spread += _repeated(option, argument)
        else:
            if option is not None and args[position - 1] == option:
                spread.append(option)  # no value at all: click says so
            option = None
            spread.append(argument)
    else:
        if args and args[-1] in several:
            spread.append(args[-1])
    return spread


def _repeated(option: str, values: str) -> list[str]:
    return [part for value in values.split(",") for part in (option, value)]
