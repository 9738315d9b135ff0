"""What `fuzz_readers.py` asks of every output: valid in its format, and nothing in it that a reader would obey."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import re
import sqlite3
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tracediff.diff import side_by_side
from tracediff.diff.show import show_table
from tracediff.report.diff.csv import diff_to_csv, many_to_csv, show_to_csv
from tracediff.report.diff.html import render_html
from tracediff.report.diff.html.many import render_many
from tracediff.report.diff.json import diff_to_json, show_to_json
from tracediff.report.diff.many_json import many_to_json
from tracediff.report.diff.many_terminal import print_many
from tracediff.report.diff.markdown import diff_to_markdown, many_to_markdown
from tracediff.report.diff.notebook import diff_to_notebook
from tracediff.report.diff.show_terminal import print_show
from tracediff.report.diff.sqlite import save_diffs, save_show
from tracediff.report.diff.terminal import print_diff
from tracediff.text import printable
from tracediff.trace import KernelTable, read_trace
from tracediff.trace.part import explain_coverage

#: Categories of characters that no output holds as they are: controls, formats, lone surrogates, line separators.
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: tracediff's own: what keeps a forge from linking, and soft line breaks in HTML.
_OWN = frozenset("\n\u200b\u00ad")
_TAGS = re.compile(r"<img src=x|</script><script>alert\(1\)", re.IGNORECASE)
_LINKS = re.compile(r"(?<!`)(?:http://fuzz\.|www\.fuzz\.|@fuzz\b)")
_LIBRARY = re.compile(r"<script>[^\0]{1000000,}?</script>")
_NUMBER = re.compile(r"[-+]?[\d.]+(?:e[-+]?\d+)?%?", re.IGNORECASE)

Output = Callable[[Any, Path], None]
"""Renders a result, into files of a folder if it needs any; raises OutputError where the output is not sound."""


class OutputError(Exception):
    """An output is not valid in its format, or not safe."""


def require(true: object, what: str) -> None:
    """Raise OutputError unless something is true."""
    if not true:
        raise OutputError(what)


def plain_text(text: str, allowed: frozenset[str] = _OWN) -> str:
    """Return text after making sure that it holds no character that a terminal or editor would obey."""
    if not text.isascii() or not text.replace("\n", "").isprintable():
        bad = {character for character in set(text) - allowed if unicodedata.category(character) in _OBEYED}
        require(not bad, f"characters as they are: {sorted(map(ascii, bad))}")
    return text


def strict_json(text: str) -> Any:
    """Parse JSON that has no NaN in it."""

    def refuse(constant: str) -> None:
        raise OutputError(f"{constant} in JSON")

    try:
        return json.loads(plain_text(text), parse_constant=refuse)
    except ValueError as error:
        raise OutputError(f"no JSON: {error}") from error


def json_lines(text: str) -> None:
    """Require JSON, or one JSON value per line."""
    for line in text.splitlines():
        strict_json(line)


def safe_html(text: str) -> None:
    """Require a page in which no text of the input is markup, whatever a library in it holds."""
    text = _LIBRARY.sub("", text)
    plain_text(text)
    require(not _TAGS.search(text), "markup of the input in HTML")


def safe_markdown(text: str) -> None:
    """Require Markdown in which no text of the input is markup, a heading or a link."""
    plain_text(text)
    require(not _TAGS.search(text), "markup of the input in Markdown")
    require(not _LINKS.search(text), "a link of the input in Markdown")
    require("\n# heading" not in text, "a heading of the input in Markdown")


def safe_csv(text: str) -> None:
    """Require rows of equal length, without a cell that a spreadsheet runs."""
    plain_text(text.replace("\r\n", "\n"))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    require(len({len(row) for row in rows}) == 1, "rows of other lengths in CSV")
    for row in rows:
        for cell in row:
            first = unicodedata.normalize("NFKC", cell).lstrip()[:1]
            require(first not in "=+-@" or not first or _NUMBER.fullmatch(cell), f"a formula in CSV: {cell[:40]!r}")


def printed(draw: Callable[[Console], None], width: int = 100) -> None:
    """Require that what is drawn on a terminal is plain text."""
    text = io.StringIO()
    draw(Console(file=text, width=width, highlight=False, markup=False, soft_wrap=False, no_color=True))
    plain_text(text.getvalue())


def saved(write: Callable[[Path], None], folder: Path) -> Path:
    """Require that what is written is a sound database; return it."""
    path = folder / "saved.sqlite"
    path.unlink(missing_ok=True)
    write(path)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
        require(said == "ok", f"saved database: {said}")
    return path


# -- traces -----------------------------------------------------------------------------------------------------------


def _save_show(table: KernelTable, folder: Path) -> None:
    path = saved(lambda path: save_show(*show_table(table), path), folder)
    require(len(read_trace(path)) > 0, "the saved table is empty")


#: What shows a kernel table.
TABLE_OUTPUTS: dict[str, Output] = {
    "show json": lambda table, _: strict_json(show_to_json(table, *show_table(table))),
    "show csv": lambda table, _: safe_csv(show_to_csv(show_table(table)[1])),
    "show table": lambda table, _: printed(lambda console: print_show(*show_table(table), console)),
    "show save": _save_show,
    "coverage": lambda table, _: plain_text("\n".join(map(printable, explain_coverage(table)))),
}
#: What shows a comparison of two.
DIFF_OUTPUTS: dict[str, Output] = {
    "diff json": lambda diff, _: strict_json(diff_to_json(diff)),
    "diff csv": lambda diff, _: safe_csv(diff_to_csv(diff)),
    "diff table": lambda diff, _: printed(lambda console: print_diff(diff, console), 80),
    "diff markdown": lambda diff, _: safe_markdown(diff_to_markdown(diff)),
    "diff html": lambda diff, _: safe_html(render_html(diff)),
    "diff notebook": lambda diff, _: safe_html(diff_to_notebook(diff)),
    "diff save": lambda diff, folder: saved(lambda path: save_diffs([diff], path), folder) and None,
    "many html": lambda diff, _: safe_html(render_many(side_by_side([diff, diff]))),
    "many json": lambda diff, _: strict_json(many_to_json(side_by_side([diff, diff]))),
    "many markdown": lambda diff, _: safe_markdown(many_to_markdown(side_by_side([diff, diff]))),
    "many csv": lambda diff, _: safe_csv(many_to_csv(side_by_side([diff, diff]))),
    "many table": lambda diff, _: printed(lambda console: print_many(side_by_side([diff, diff]), console)),
}


#: Pages take much longer than the rest.
_SELDOM = {"diff html": 0.2, "many html": 0.1}


def one_output(outputs: Mapping[str, Output], result: Any, folder: Path, chance: random.Random) -> str:
    """Render a result in one of its formats; return which."""
    weights = [_SELDOM.get(name, 1.0) for name in outputs]
    (name,) = chance.choices(list(outputs), weights)
    try:
        outputs[name](result, folder)
    except OutputError as error:
        raise OutputError(f"{name}: {error}") from error
    return name
