"""Progress on stderr for the commands that run a model, and the device they run on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def default_device() -> str:
    """Return `cuda` where torch can use a GPU, else `cpu`.

    Raises:
        TracediffError: torch is not installed.
    """
    from tracediff.errors import TracediffError

    try:
        import torch
    except ImportError as error:
        raise TracediffError("torch is not installed", "pip install 'nsys-tracediff[capture]'") from error
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
def running() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows what is running, where stderr is a terminal."""
    from rich.console import Console

    with Console(file=sys.stderr).status("loading") as status:
        yield status.update if sys.stderr.isatty() else lambda text: None
