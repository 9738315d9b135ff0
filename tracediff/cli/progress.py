"""Progress on stderr for the commands that run a model, and the device they run on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from tracediff.text import printable


def default_device() -> str:
    """Return `cuda` where torch can use a GPU, else `cpu`.

    Raises:
        TracediffError: torch is not installed.
    """
    from tracediff.errors import TracediffError, install_hint

    try:
        import torch
    except ImportError as error:
        raise TracediffError("torch is not installed", install_hint("capture")) from error
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def counting() -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function that shows (done, total, what is running) as a bar, where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)


@contextmanager
def steps_on_stderr() -> Iterator[Callable[[str], None]]:
    """Yield what is called with a line when a step begins: a changing line on a terminal, plain lines elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: typer.echo(f"{printable(step)} …", err=True)
        return
    with console.status("") as status:
        yield lambda step: status.update(Text(f"{printable(step)} …"))
