"""`tracediff name`: what a kernel name says."""

import typer

from tracediff.cli import app


@app.command()
def name(names: list[str] = typer.Argument(help="Kernel names, or - to read them from standard input.")) -> None:
    """Say what a kernel name states: family, role, tile, stages, types, split-K."""
    import json

    from tracediff.kernels import parse

    for text in names:
        typer.echo(json.dumps(parse(text).to_dict(), ensure_ascii=False))
