"""`tracediff doctor`: what a capture needs, and what of it is here."""

from pathlib import Path
from typing import Annotated

import typer

from tracediff.cli import app
from tracediff.cli.options import FORMAT_OPTION, TableJson, emit, stdout_console


@app.command()
def doctor(
    output_format: Annotated[TableJson, FORMAT_OPTION] = TableJson.TABLE,
    nsys: Path | None = typer.Option(None, help="The nsys to examine; looked for by default."),
) -> None:
    """Say what `tracediff capture` would find on this machine, what is missing, and how to get it."""
    import dataclasses

    from tracediff.capture.doctor import examine
    from tracediff.cli.progress import steps_on_stderr
    from tracediff.text import json_text

    with steps_on_stderr() as step:
        step("looking around, and trying nsys")
        checks = examine(nsys)
    if output_format is TableJson.JSON:
        document = {"schema": 1, "checks": [dataclasses.asdict(check) for check in checks]}
        emit(json_text(document, indent=2) + "\n")
        return
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
    stdout_console().print(table)
