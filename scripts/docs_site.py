"""A hook of mkdocs: the site's pages are the repository's files, and the commands' own help.

    mkdocs build          # writes build/site; a broken link or anchor is an error
    mkdocs serve

Every file keeps its path, so that a relative link leads to the same place in the repository and on the site.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

from tracediff.cli.application import COMMANDS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = (
    "*.md",
    "LICENSE",
    "docs/*.md",
    "docs/images/*",
    "profiles/**/*.md",
    "profiles/**/*.svg",
    "profiles/**/*.xz",
    "profiles/tokens/prompts.jsonl",
    "profiles/tokens/smollm2*.json",
)
COLUMNS = 100


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's files and the page of the commands."""
    for path in sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def commands_page() -> str:
    """Return the page of all commands: the help that each prints."""
    text = ["# Commands", "", "What each command prints with `--help`."]
    for name in ["", *COMMANDS]:
        words = " ".join(filter(None, ["tracediff", name]))
        text += ["", f"## {words}", "", "```text", help_of(name), "```"]
    return "\n".join(text) + "\n"


def help_of(command: str) -> str:
    """Return the help of a command as it is printed on a plain terminal; of the program where `command` is empty."""
    environment = {"COLUMNS": str(COLUMNS), "TERMINAL_WIDTH": str(COLUMNS), "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tracediff", *filter(None, [command]), "--help"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
