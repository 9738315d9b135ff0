"""A sentence on the terminal, the lines after its first indented."""

from rich.console import Console
from rich.text import Text


def print_hanging(text: Text, console: Console) -> None:
    """Print a sentence, the lines after its first indented."""
    for number, line in enumerate(text.wrap(console, max(20, console.width - 2))):
        console.print(Text.assemble("  " if number else "", line))
