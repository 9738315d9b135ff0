"""The command line: each command parses its arguments, calls one library function and prints."""

import typer

from tracediff.cli.application import Commands
from tracediff.version import __version__

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Why the same prompt gives a different text in a different batch: kernel → reduction order → bits → token.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tracediff {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass
