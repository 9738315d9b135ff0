"""`tracediff name`: what a kernel name says."""

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from msgspec.structs import asdict

from tracediff.cli.options import TableJson
from tracediff.errors import TracediffError
from tracediff.kernels import describe, explain, parse
from tracediff.kernels.pasted import name_in_row
from tracediff.streams import lines_within, standard_input, standard_output
from tracediff.text import printable

_LONGEST_LINE = 16 << 20

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
        TableJson, typer.Option("--format", help="One line for people, or one JSON object, per name.")
    ] = TableJson.TABLE,
    explained: Annotated[
        bool, typer.Option("--explain", help="Also explain each token of the name, and say how sure that is.")
    ] = False,
) -> None:
    """Read kernel names: family, role, tile, stages, types, split-K.

    Example: nsys stats -r cuda_gpu_kern_sum run.nsys-rep | tracediff name -
    """
    if not names:
        raise TracediffError("no kernel name given", "name one or more, or - to read them from standard input")
    lines_of = _json_of if output_format is TableJson.JSON else _words_of
    out = standard_output()
    # Unlike `echo`, which flushes every line; on a terminal each is shown at once all the same.
    out.writelines(lines_of(text, explained) for text in _given(names))
    out.flush()


def _given(names: list[str]) -> Iterator[str]:
    """Yield the names as given, and in place of `-` those in the lines of standard input."""
    for text in names:
        if text != "-":
            yield text
            continue
        nothing = True
        for line in lines_within(standard_input(), _LONGEST_LINE):
            if found := name_in_row(line):
                nothing = False
                yield found
        if nothing:
            raise TracediffError(
                "no kernel name on standard input", "give a name per line, or rows of a profiler's table"
            )


def _json_of(text: str, explained: bool) -> str:
    found = parse(text).to_dict()
    if explained:
        found["tokens"] = [asdict(token) for token in explain(text)]
    # ASCII only: a name may hold what no encoding of the terminal can write.
    return json.dumps(found) + "\n"


def _words_of(text: str, explained: bool) -> str:
    words = f"{printable(describe(parse(text)))}\n"
    if not explained:
        return words
    tokens = explain(text)
    width = min(max((len(printable(token.text)) for token in tokens), default=0), 40)
    return words + "".join(
        f"  {printable(token.text):{width}}  {printable(token.meaning)} [{token.certainty}]\n" for token in tokens
    )
