"""`tracediff doctor`: what a capture needs, and what of it is here."""

from enum import StrEnum
from pathlib import Path

import typer

from tracediff.cli import app


class Format(StrEnum):
    """How the checks are printed."""

    table = "table"
    json = "json"


@app.command()
def doctor(
    format: Format = typer.Option(Format.table, "--format", help="A table, or JSON."),
    nsys: Path | None = typer.Option(None, help="The nsys to examine; looked for by default."),
) -> None:
    """Say what `tracediff capture` would find on this machine, what is missing, and how to get it."""
    import dataclasses
    import json

    from tracediff.capture.doctor import examine
    from tracediff.cli.progress import steps_on_stderr

    with steps_on_stderr() as step:
        step("looking around, and trying nsys")
        checks = examine(nsys)
    if format is Format.json:
        document = {"schema": 1, "checks": [dataclasses.asdict(check) for check in checks]}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tracediff.text import printable

    table = Table("", "what", "found, and how to get it", box=None, pad_edge=False)
    for check in checks:
        sign, style = ("ok", "green") if check.status == "ok" else ("missing", "yellow")
        told = Text(printable(check.found))
        if check.hint:
            told.append(f"\n→ {printable(check.hint)}", style="bold")
        table.add_row(Text(sign, style=style), check.name, told)
    Console().print(table)
