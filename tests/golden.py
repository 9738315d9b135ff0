"""Whole outputs kept as files in tests/gold/: what a person sees must not change unnoticed.

    from tests.golden import assert_golden, run

    def test_the_screen(columns):
        assert_golden(run("diff", A, B, columns=columns), f"diff/{profile}-{columns}.txt")

Where an output differs from its file, the test fails with the difference and leaves the actual text in tests/actual/.
Read it; if it is right, accept it:

    python -m tests.golden                 # every new output
    python -m tests.golden diff/llama      # those whose name begins so
"""

from __future__ import annotations

import difflib
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tracediff import __version__
from tracediff.cli import app

TESTS = Path(__file__).parent
GOLD = TESTS / "gold"
ACTUAL = TESTS / "actual"
SHOWN_LINES = 80

Scrub = tuple[str, str]
"""A regular expression and what replaces its matches: for what differs between machines or runs and says nothing."""

SCRUBS: tuple[Scrub, ...] = (
    (rf"\b{re.escape(__version__)}\b", "VERSION"),
    (re.escape(str(TESTS.parent)) + r"/?", ""),
    (r"/tmp/\S*?pytest-of-[^/\s]+/pytest-\d+/(?:popen-gw\d+/)?[^/\s]+/?", "TMP/"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", "TIME"),
)


def run(*arguments: object, columns: int = 80) -> str:
    """What `tracediff ARGUMENTS` prints on a plain terminal of this width; the command must exit with 0."""
    environment = {"COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1", "GITHUB_ACTIONS": None}
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def assert_golden(actual: str, name: str, scrubs: Iterable[Scrub] = ()) -> None:
    """Compare a text to tests/gold/`name`, after SCRUBS and `scrubs` in this order."""
    actual = scrubbed(actual, (*SCRUBS, *scrubs))
    gold, saved = GOLD / name, ACTUAL / name
    expected = gold.read_text(encoding="utf-8") if gold.exists() else None
    if actual == expected:
        saved.unlink(missing_ok=True)
        return
    saved.parent.mkdir(parents=True, exist_ok=True)
    saved.write_text(actual, encoding="utf-8")
    what = f"differs from tests/gold/{name}" if expected is not None else f"is new: there is no tests/gold/{name}"
    pytest.fail(
        f"The output {what}. If it is right: python -m tests.golden {name}\n{_difference(expected, actual)}", False
    )


def scrubbed(text: str, scrubs: Iterable[Scrub]) -> str:
    """The text with every match replaced."""
    for pattern, replacement in scrubs:
        text = re.sub(pattern, replacement, text)
    return text


def accept(beginning: str = "") -> list[str]:
    """Move the actual outputs whose name begins so to tests/gold/, and return their names."""
    names = sorted(str(path.relative_to(ACTUAL)) for path in ACTUAL.rglob("*") if path.is_file())
    chosen = [name for name in names if name.startswith(beginning)]
    for name in chosen:
        (GOLD / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(ACTUAL / name, GOLD / name)
    return chosen


def _difference(expected: str | None, actual: str) -> str:
    before = [] if expected is None else expected.splitlines()
    lines = list(difflib.unified_diff(before, actual.splitlines(), "expected", "actual", lineterm="", n=1))
    more = len(lines) - SHOWN_LINES
    return "\n".join([*lines[:SHOWN_LINES], *([f"… {more} more lines"] if more > 0 else [])])


if __name__ == "__main__":
    accepted = [name for beginning in sys.argv[1:] or [""] for name in accept(beginning)]
    print("\n".join(f"accepted {name}" for name in accepted) or "nothing to accept")
