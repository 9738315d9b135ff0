"""`tracediff lattice`: which dtype pasted logits came from, and how many ULP lie between them."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.options import FORMAT_OPTION, TableJson, emit, stdout_console
from tracediff.errors import TracediffError
from tracediff.streams import read_within, standard_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracediff.findings.lattice import Lattice

app = typer.Typer(add_completion=False)

#: A vocabulary of a quarter million takes 3 MB per position.
_LONGEST_TEXT = 256 << 20


@app.command()
def lattice(
    file: str = typer.Argument(metavar="FILE", help="Text with logits, logprobs or probabilities; - reads stdin."),
    kind: str | None = typer.Option(None, help="logits, logprobs or probabilities, where the text does not say."),
    dtype: str | None = typer.Option(None, help="The logits' dtype, where it is known: bf16, fp16, fp32, …"),
    output_format: Annotated[TableJson, FORMAT_OPTION] = TableJson.TABLE,
) -> None:
    """Tell from pasted logits or logprobs which dtype made them and how many ULP the top two are apart.

    Needs no GPU and no torch. Reads what people paste: answers of OpenAI-compatible servers, vLLM, SGLang and
    llama.cpp, JSON Lines, `data:` streams, what Python, numpy and torch print, Markdown tables, CSV, and log lines.

    Example: tracediff lattice answer.json
    """
    from tracediff.findings.lattice import analyse
    from tracediff.findings.pasted_logits import read_steps

    steps = read_steps(_text_of(file))
    lattices = [
        _with_notes(analyse(step.readings, kind or step.kind, dtype or step.dtype), step.notes) for step in steps
    ]
    _RENDERERS[output_format](lattices, [step.name for step in steps])


def _with_notes(found: "Lattice", notes: "Sequence[str]") -> "Lattice":
    from dataclasses import replace

    return replace(found, notes=(*found.notes, *notes))


def _text_of(file: str) -> str:
    try:
        with nullcontext(standard_input()) if file == "-" else Path(file).open("rb") as source:
            return read_within(source, _LONGEST_TEXT).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TracediffError(f"cannot read {file}", getattr(error, "strerror", None) or "it is not UTF-8") from error


def _print_table(lattices: "Sequence[Lattice]", names: "Sequence[str | None]") -> None:
    from tracediff.report.lattice.terminal import print_lattices

    print_lattices(lattices, stdout_console(), names)


def _print_json(lattices: "Sequence[Lattice]", names: "Sequence[str | None]") -> None:
    from tracediff.report.lattice.json import lattices_to_json

    emit(lattices_to_json(lattices, names))


_RENDERERS = {TableJson.TABLE: _print_table, TableJson.JSON: _print_json}
