"""Numbers as people write them on a command line: `1-512`, `1,2,4,8`, `0,300,2000`."""

import re

from tracediff.errors import TracediffError

_RANGE = re.compile(r"(\d{1,7})(?:[-–](\d{1,7}))?")
_MOST = 100_000


def numbers(text: str, option: str, least: int = 1) -> tuple[int, ...]:
    """Return the numbers that a list of numbers and ranges names, each once, in the order written.

    Args:
        text: What the user wrote.
        option: Where, for the message.
        least: The smallest number that means something.

    Raises:
        TracediffError: Something else, a number below `least`, a range that runs backwards, or far too many numbers.
    """
    found: dict[int, None] = {}
    for word in text.replace(" ", "").split(","):
        match = _RANGE.fullmatch(word)
        if match is None:
            raise TracediffError(f"{option} {text} is no list of numbers", f"write it as {option} 1-32,64,128")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first or last - first > _MOST:
            raise TracediffError(f"{option}: {word} is no range", "the smaller number first, at most 100,000 numbers")
        if first < least:
            raise TracediffError(f"{option}: {first} is too small", f"give {least} or more")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)
