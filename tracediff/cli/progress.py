"""Progress for people, on stderr: one changing line on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from tracediff.text import printable


@contextmanager
def steps_on_stderr() -> Iterator[Callable[[str], None]]:
    """Yield what is called with a line whenever a step begins."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: typer.echo(f"{printable(step)} …", err=True)
        return
    with console.status("") as status:
        yield lambda step: status.update(Text(f"{printable(step)} …"))
