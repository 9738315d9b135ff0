"""`tracediff lattice`: what pasted logits or logprobs say about their dtype."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tracediff.cli import app
from tracediff.cli.options import FORMAT_OPTION, TableJson, emit, stdout_console


@app.command()
def lattice(
    file: str = typer.Argument(metavar="FILE", help="JSON or CSV with logits or logprobs, or - for standard input."),
    kind: str | None = typer.Option(None, help="logits or logprobs, where the file does not say."),
    dtype: str | None = typer.Option(None, help="The logits' dtype, where it is known: gaps are given in its ULP."),
    output_format: Annotated[TableJson, FORMAT_OPTION] = TableJson.TABLE,
) -> None:
    """Tell the dtype's lattice from logits or logprobs alone, and how many ULP each gap is.

    Needs no GPU and no torch. Reads lists, token → number mappings, what the OpenAI API and vLLM return, and CSV.

    Example: tracediff lattice logprobs.json
    """
    from dataclasses import asdict

    from tracediff.errors import TracediffError
    from tracediff.findings.lattice import analyse
    from tracediff.findings.lattice_input import read_groups

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TracediffError(f"cannot read {file}", getattr(error, "strerror", None) or "it is not UTF-8") from error
    lattices = [analyse(group.readings, kind or group.kind, dtype) for group in read_groups(text)]
    if output_format is TableJson.JSON:
        from tracediff.text import json_text

        steps = [asdict(one) for one in lattices]
        emit(json_text({"schema": 1, "kind": "lattice", "steps": steps}) + "\n")
    else:
        from tracediff.report.lattice.terminal import print_lattices

        print_lattices(lattices, stdout_console())
