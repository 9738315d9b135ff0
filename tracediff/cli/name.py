"""`tracediff name`: what a kernel name says."""

import io
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from tracediff.cli.options import TextJson
from tracediff.errors import TracediffError
from tracediff.text import printable

app = typer.Typer(add_completion=False)


@app.command()
def name(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Kernel names, or - to read them from standard input: a name per line, or rows of a table."
        ),
    ] = None,
    output_format: Annotated[
        TextJson, typer.Option("--format", help="One line of text, or one JSON object, per name.")
    ] = TextJson.TEXT,
    explained: Annotated[
        bool, typer.Option("--explain", help="Also explain each token of the name, and say how sure that is.")
    ] = False,
) -> None:
    """Read kernel names: family, role, tile, stages, types, split-K.

    Example: nsys stats -r cuda_gpu_kern_sum run.nsys-rep | tracediff name -
    """
    if not names:
        raise TracediffError("no kernel name given", "name one or more, or - to read them from standard input")
    write = _write_json if output_format is TextJson.JSON else _write_text
    for text in _given(names):
        write(text, explained)


def _given(names: list[str]) -> Iterator[str]:
    """Yield the names as given, and in place of `-` those in the lines of standard input."""
    from tracediff.kernels.pasted import name_in_row

    for text in names:
        if text != "-":
            yield text
            continue
        nothing = True
        for line in io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"):
            if found := name_in_row(line):
                nothing = False
                yield found
        if nothing:
            raise TracediffError(
                "no kernel name on standard input", "give a name per line, or rows of a profiler's table"
            )


def _write_json(text: str, explained: bool) -> None:
    import json
    from dataclasses import asdict

    from tracediff.kernels import explain, parse

    found = parse(text).to_dict()
    if explained:
        found["tokens"] = [asdict(token) for token in explain(text)]
    # ASCII only: a name may hold what no encoding of the terminal can write.
    typer.echo(json.dumps(found))


def _write_text(text: str, explained: bool) -> None:
    from tracediff.kernels import describe, explain, parse

    typer.echo(printable(describe(parse(text))))
    if not explained:
        return
    tokens = explain(text)
    width = min(max((len(printable(token.text)) for token in tokens), default=0), 40)
    for token in tokens:
        typer.echo(f"  {printable(token.text):{width}}  {printable(token.meaning)} [{token.certainty}]")
