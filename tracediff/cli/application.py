"""The group of commands: the chosen one is imported; exit codes and error lines of all are here."""

import sys
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from tracediff.errors import TracediffError
from tracediff.text import printable

GATE_FAILED = 1
TROUBLE = 2
INTERRUPTED = 130

#: In the order of `tracediff --help`. Each is the one command of the typer application `app` in the module of its name.
COMMANDS = (
    "capture",
    "record",
    "diff",
    "show",
    "name",
    "explain",
    "flips",
    "lattice",
    "determinism",
    "map",
    "remedies",
    "ingest",
    "fleet",
    "doctor",
)

#: What options and formats were called before, by command; still taken, and in no help.
OLD_SPELLINGS: dict[str, dict[str, str]] = {
    "map": {"--setting": "--remedy", "--range": "--make-equal"},
    "remedies": {"--settings": "--remedy"},
}
_WITHOUT_FORMAT = ("capture", "record", "ingest")
_OLD_FORMATS = {"text": "table"}

#: What torch says of memory that the CPU does not have.
_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"

# What typer raises for a wrong command line. Newer typers bring their own click and older ones use the installed one,
# so the class is found through a subclass of it that all of them offer.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]


class Commands(TyperGroup):
    """The commands; turns a TracediffError and a wrong command line into one line on stderr and exit code 2.

    Only the chosen command is imported: start-up is felt.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command and return it; None for a name that is none's."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"tracediff.cli.{cmd_name}").app)
        # typer keeps the line breaks of a docstring, which do not fit the terminal's width.
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of a command line."""
        if args[0] not in COMMANDS:
            self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}  # typer suggests one of these
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, _spelled_as_today(name or "", rest)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """Parse the options before the command."""
        if not args:
            return super().make_context(info_name, args, *rest, **extra)  # typer prints the help
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except _UsageError as error:
            raise _refused(error, info_name or "tracediff") from error
        except (BrokenPipeError, SystemExit) as left:
            raise _unread(left) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except TracediffError as error:
            typer.echo(f"tracediff: {printable(str(error))}", err=True)
            raise typer.Exit(TROUBLE) from error
        except (BrokenPipeError, SystemExit) as left:
            raise _unread(left) from None
        except OSError as error:
            # What the machine refuses (a full disk, a file without permission) is the user's to mend, not a bug.
            place = f"{error.filename}: " if error.filename else ""
            typer.echo(f"tracediff: {printable(place)}{error.strerror or error}", err=True)
            raise typer.Exit(TROUBLE) from error
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except _UsageError as error:
            raise _refused(error, " ".join(filter(None, [ctx.command_path, ctx.invoked_subcommand]))) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if isinstance(error, MemoryError) or _NO_MEMORY in str(error):
                typer.echo("tracediff: out of memory: use a smaller input, batch, prompt or model", err=True)
                raise typer.Exit(TROUBLE) from error
            import traceback

            traceback.print_exc()
            typer.echo("tracediff: this is a bug in tracediff; please report it with the lines above", err=True)
            raise typer.Exit(TROUBLE) from error


def _unread(left: BrokenPipeError | SystemExit) -> BaseException:
    """Return how to end where the reader of our output went away (`| head`); any other way of leaving stays as it is.

    Nothing is wrong then, and Python must not complain at exit. rich leaves a help text by the code of a failed gate.
    """
    if isinstance(left, SystemExit) and left.code != GATE_FAILED:
        return left
    sys.stdout = None
    return typer.Exit(0)


def _refused(error: Any, place: str) -> typer.Exit:
    """Say in one line what is wrong with the command line, and where the right one is described."""
    command = error.ctx.command_path if error.ctx is not None else place
    # A list of choices comes on lines of its own.
    message = " ".join(error.format_message().split()).rstrip(".")
    typer.echo(f"{printable(f'{command}: {message}')} (see {command} --help)", err=True)
    return typer.Exit(TROUBLE)


def _spelled_as_today(command: str, args: list[str]) -> list[str]:
    """Return the arguments of a command with old names of options and formats replaced; what is behind `--` stays."""
    own = args[: args.index("--")] if "--" in args else args
    spelled: list[str] = []
    for argument in own:
        option, equals, value = argument.partition("=")
        option = OLD_SPELLINGS.get(command, {}).get(option, option)
        if command not in _WITHOUT_FORMAT:
            if spelled and spelled[-1] == "--format":
                option = _OLD_FORMATS.get(option, option)
            elif option == "--format":
                value = _OLD_FORMATS.get(value, value)
        spelled.append(f"{option}{equals}{value}")
    return [*spelled, *args[len(own) :]]


class ManyValues(TyperCommand):
    """A command whose options named in `many` take several values: `--batch 1 2`, `--batch 1,2`, `--batch 1 --batch 2`.

    Typer's options take one value each, so the extra values become repeated options before it parses.
    """

    many: tuple[str, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option's name before each further value, then parse."""
        spread: list[str] = []
        option: str | None = None
        for position, argument in enumerate(args):
            if argument == "--":
                spread += args[position:]
                break
            name, equals, value = argument.partition("=")
            if name in self.many:
                option = name
                if equals:
                    spread += _repeated(name, value)
            elif option is not None and not argument.startswith("-"):
                spread += _repeated(option, argument)
            else:
                if option is not None and args[position - 1] == option:
                    spread.append(option)  # no value at all: typer says so
                option = None
                spread.append(argument)
        else:
            if args and args[-1] in self.many:
                spread.append(args[-1])
        return super().parse_args(ctx, spread)


def _repeated(option: str, values: str) -> list[str]:
    return [part for value in values.split(",") for part in (option, value)]
