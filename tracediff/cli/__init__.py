"""The command line: each command parses its arguments, calls one library function and prints."""

import typer

from tracediff.cli.application import Commands
from tracediff.version import __version__

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Why the same prompt gives another text at another batch size: kernel → reduction order → bits → token.",
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


# Each module below registers its command on `app`; the order is the order of `tracediff --help`.
from tracediff.cli import capture as capture  # noqa: E402 isort: skip
from tracediff.cli import record as record  # noqa: E402 isort: skip
from tracediff.cli import diff as diff  # noqa: E402 isort: skip
from tracediff.cli import show as show  # noqa: E402 isort: skip
from tracediff.cli import name as name  # noqa: E402 isort: skip
from tracediff.cli import explain as explain  # noqa: E402 isort: skip
from tracediff.cli import flips as flips  # noqa: E402 isort: skip
from tracediff.cli import lattice as lattice  # noqa: E402 isort: skip
from tracediff.cli import determinism as determinism  # noqa: E402 isort: skip
from tracediff.cli import map as map  # noqa: E402 isort: skip
from tracediff.cli import remedies as remedies  # noqa: E402 isort: skip
from tracediff.cli import ingest as ingest  # noqa: E402 isort: skip
from tracediff.cli import fleet as fleet  # noqa: E402 isort: skip
from tracediff.cli import doctor as doctor  # noqa: E402 isort: skip
