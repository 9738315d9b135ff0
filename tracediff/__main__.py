"""`python -m tracediff` and the console script."""

import gc
import io
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line."""
    # Where standard output cannot hold `·` or `→` (PYTHONIOENCODING=ascii, an old locale), they are written as escapes.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _exit)
    # What an import makes stays, and to search it for garbage in cycles takes a tenth of the time of `--version`.
    gc.disable()
    from tracediff.cli import app  # noqa: PLC0415 -- keeps `import tracediff.__main__` free of typer

    gc.enable()
    app(prog_name="tracediff")


def _exit(number: int, _frame: FrameType | None) -> None:
    """End by an exception: temporary files and folders are removed on the way out."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
