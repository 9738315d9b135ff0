"""Text on a narrow terminal: indented sentences, facts under a title, names broken at their joints."""

import re
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

#: Below this many columns a table would break words into letters.
NARROW = 72

_PARTS = re.compile(r"[^._]*[._]?")


def print_hanging(text: Text, console: Console) -> None:
    """Print a sentence, the lines after its first indented."""
    for number, line in enumerate(text.wrap(console, max(20, console.width - 2))):
        console.print(Text.assemble("  " if number else "", line))


def print_stacked(title: Text, facts: Iterable[Text], console: Console, indent: int = 2) -> None:
    """Print what a row of a table would hold, one fact under the other."""
    if title:
        console.print(title)
    for fact in facts:
        if fact:
            console.print(Padding(fact, (0, 0, 0, indent)))


def at_joints(name: str, width: int) -> str:
    """Break a module's path into lines of at most `width` columns, behind its dots and underscores where it can be."""
    lines = [""]
    for part in _PARTS.findall(name):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append(part)
        else:
            lines[-1] += part
    return "\n".join(lines)
