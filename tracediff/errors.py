"""The one kind of error that is the user's to fix: printed as one line, exit code 2."""


class TracediffError(Exception):
    """Something is wrong with the input or the machine, and the user can act on it.

    Args:
        message: What is wrong, naming the file or value.
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


def install_hint(extra: str) -> str:
    """Return how to install an optional part, as a person with the source can do it.

    Args:
        extra: Its name in pyproject.toml: `capture`, `fleet`, `figures`.
    """
    return f"pip install '.[{extra}]' in the folder of tracediff's source"
