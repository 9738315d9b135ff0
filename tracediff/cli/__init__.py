"""The command line: each command parses its arguments, calls one library function and prints."""

import click

from tracediff.cli.application import Commands
from tracediff.version import __version__

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


@click.group(
    "tracediff",
    cls=Commands,
    names=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120},
)
@click.version_option(__version__, message="tracediff %(version)s", help="Print the version.")
def app() -> None:
    """Why the same prompt gives another text at another batch size: kernel → reduction order → bits → token."""
