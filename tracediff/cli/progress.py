"""Progress on stderr for the commands that run a model, and the device they run on."""

import sys
import time
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
    """Yield what shows (done, total, what is running) on stderr: a bar on a terminal, elsewhere a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _LineNowAndThen()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=printable(text))


class _LineNowAndThen:
    """Progress for a log: a line at the start, every few seconds, and at the end, with the time left.

    Args:
        seconds: Between two lines.
        clock: Returns the time in seconds.
    """

    def __init__(self, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._start: tuple[float, int] | None = None
        self._last = float("-inf")

    def __call__(self, done: int, total: int, text: str) -> None:
        now = self._clock()
        if self._start is None:
            self._start = (now, done)
        if now - self._last < self._seconds and done < total:
            return
        self._last = now
        typer.echo(f"{done:,} of {total:,}: {printable(text)}{self._time_left(now, done, total)}", err=True)

    def _time_left(self, now: float, done: int, total: int) -> str:
        assert self._start is not None
        before, first = self._start
        if done <= first or done >= total:
            return ""
        seconds = round((now - before) / (done - first) * (total - done))
        return f", about {seconds // 60}:{seconds % 60:02} left"


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
