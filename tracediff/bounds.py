"""Numbers that a user gives: sizes and counts, within what any machine can hold."""

from tracediff.errors import TracediffError

_MOST = 1 << 24


def require_number(name: str, value: int, least: int = 1) -> None:
    """Raise TracediffError where a number is smaller than `least`, or larger than any that makes sense."""
    if value < least:
        raise TracediffError(f"{name} {value} is too small", f"give {least} or more")
    if value > _MOST:
        raise TracediffError(f"{name} {value} is too large", f"give {_MOST:,} or less")
