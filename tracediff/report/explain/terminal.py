"""An explanation as terminal text and Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.explain import Explanation
from tracediff.findings.explain_questions import Reply
from tracediff.findings.flips_summary import nearest_flips
from tracediff.report.diff.terminal import JUDGEMENT_STYLE
from tracediff.report.flips.terminal import print_flip
from tracediff.report.flips.top_logits import FlipView, LogitRow, flip_view
from tracediff.text import markdown_text, printable

_WIDEST = 120
_STYLE = {Reply.YES: "green", Reply.NO: "bold red", Reply.CANNOT_TELL: "yellow", Reply.NOTHING: "dim"}


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print the judgement, the questions with their answers, and what cannot be known."""
    head = Text(str(explanation.judgement).upper(), style=JUDGEMENT_STYLE[explanation.judgement])
    console.print(Text.assemble(head, f"  {printable(explanation.because)}"))
    # A width of its own, since columns share what is left by their ratio only where the table has one.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, width=min(console.width, _WIDEST))
    table.add_column("question", overflow="fold", ratio=4)
    table.add_column("answer", no_wrap=True)
    table.add_column("evidence", overflow="fold", ratio=7)
    for each in explanation.questions:
        table.add_row(each.text, Text(each.reply, style=_STYLE[each.reply]), Text(printable(each.because)))
    console.print(table)
    for flip in _shown_flips(explanation):
        print_flip(flip, console)
    console.print(Text("What this evidence does not show", style="bold"))
    for sentence in explanation.cannot_know:
        console.print(Text(f"· {printable(sentence)}"))


def explanation_to_markdown(explanation: Explanation) -> str:
    """Return the same as Markdown."""
    lines = [
        f"**{markdown_text(explanation.headline)}**",
        "",
        "| question | answer | evidence |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {each.text} | {each.reply} | {markdown_text(each.because)} |" for each in explanation.questions]
    for flip in _shown_flips(explanation):
        lines += ["", f"**{markdown_text(flip.title)}**", "", *_markdown_rows(flip)]
    lines += ["", "What this evidence does not show", ""]
    lines += [f"- {markdown_text(sentence)}" for sentence in explanation.cannot_know]
    return "\n".join(lines) + "\n"


def _shown_flips(explanation: Explanation) -> Iterator[FlipView]:
    """Yield the nearest flip of each precision of each search."""
    for _, result in explanation.flips:
        for search, flip in nearest_flips(result):
            yield flip_view(flip, result.settings.batches[0], search)


def _markdown_rows(flip: FlipView) -> Iterator[str]:
    heads = [f"batch {side.batch} | logit | ULP below" for side in flip.sides]
    yield f"| {' | '.join(heads)} |"
    yield "| --- | ---: | ---: | --- | ---: | ---: |"
    for rows in zip_longest(*(side.rows for side in flip.sides)):
        yield f"| {' | '.join(map(_markdown_cells, rows))} |"


def _markdown_cells(row: LogitRow | None) -> str:
    if row is None:
        return " |  | "
    token = markdown_text(row.token)
    return f"{f'**{token}**' if row.chosen else token} | {row.logit} | {row.below}{' (tie)' if row.tied else ''}"
