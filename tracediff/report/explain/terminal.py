"""The walk from bits to a verdict, as terminal text and Markdown."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.explain import Explanation, Verdict
from tracediff.text import printable

_STYLE = {True: "green", False: "bold red", None: "yellow"}


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print the verdict, the questions with their answers, and what cannot be known."""
    style = "bold green" if explanation.verdict is Verdict.EXPECTED else "bold yellow"
    if explanation.verdict.startswith("suspect"):
        style = "bold red"
    console.print(Text(printable(explanation.headline), style=style))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("question", overflow="fold", ratio=5)
    table.add_column("answer", no_wrap=True)
    table.add_column("evidence", overflow="fold", ratio=6)
    for check in explanation.checks:
        table.add_row(check.question, Text(check.word, style=_STYLE[check.answer]), Text(printable(check.because)))
    console.print(table)
    console.print(Text("This evidence does not tell", style="bold"))
    for sentence in explanation.cannot_know:
        console.print(Text(f"· {printable(sentence)}"))


def explanation_to_markdown(explanation: Explanation) -> str:
    """Return the same as Markdown."""
    lines = [f"**{_cell(explanation.headline)}**", "", "| question | answer | evidence |", "| --- | --- | --- |"]
    lines += [f"| {check.question} | {check.word} | {_cell(check.because)} |" for check in explanation.checks]
    lines += ["", "This evidence does not tell", ""]
    lines += [f"- {_cell(sentence)}" for sentence in explanation.cannot_know]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return printable(text).replace("|", r"\|").replace("<", "&lt;")
