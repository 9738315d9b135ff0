"""`python -m tracediff` and the console script."""

import io
import sys


def main() -> None:
    """Run the command line."""
    # Where standard output cannot hold `·` or `→` (PYTHONIOENCODING=ascii, an old locale), they are written as escapes.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from tracediff.cli import app  # noqa: PLC0415 -- keeps `import tracediff.__main__` free of typer

    app(prog_name="tracediff")


if __name__ == "__main__":
    main()
