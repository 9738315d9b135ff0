"""Exit codes and error lines of every command, in one place."""

import sys
import traceback
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tracediff.errors import TracediffError
from tracediff.text import printable

GATE_FAILED = 1
TROUBLE = 2
INTERRUPTED = 130


class Commands(TyperGroup):
    """The commands; turns a TracediffError into one line on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except TracediffError as error:
            typer.echo(f"tracediff: {printable(str(error))}", err=True)
            raise typer.Exit(TROUBLE) from error
        except BrokenPipeError:
            # The reader of our output went away (`| head`): nothing is wrong, and Python must not complain at exit.
            sys.stdout = None
            raise typer.Exit(0) from None
        except OSError as error:
            # What the machine refuses (a full disk, a file without permission) is the user's to mend, not a bug.
            place = f"{error.filename}: " if error.filename else ""
            typer.echo(f"tracediff: {printable(place)}{error.strerror or error}", err=True)
            raise typer.Exit(TROUBLE) from error
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):  # typer's own usage errors
                raise
            traceback.print_exc()
            typer.echo("tracediff: this is a bug in tracediff; please report it with the lines above", err=True)
            raise typer.Exit(TROUBLE) from error


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
