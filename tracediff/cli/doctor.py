"""`tracediff doctor`: what recording needs, and whether this machine has it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.options import FORMAT_OPTION, TableJson, emit, stdout_console

if TYPE_CHECKING:
    from rich.table import Table

    from tracediff.capture.doctor import Requirement

CANNOT_RECORD = 1

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    output_format: Annotated[TableJson, FORMAT_OPTION] = TableJson.TABLE,
    nsys: Path | None = typer.Option(None, help="The nsys to check; found as `tracediff capture` finds it by default."),
) -> None:
    """Check what `tracediff capture` needs on this machine, and say how to get what is missing.

    Exit code: 0, or 1 where a capture cannot run here.

    Example: tracediff doctor
    """
    import dataclasses

    from tracediff.capture.doctor import ability, examine
    from tracediff.cli.progress import steps_on_stderr
    from tracediff.text import json_text, printable

    with steps_on_stderr() as step:
        step("checking this machine, and recording a test with nsys")
        checks = examine(nsys)
    able = ability(checks)
    if output_format is TableJson.JSON:
        document = {
            "schema": 1,
            "can_record": able.profiler is not None,
            "profiler": able.profiler,
            "because": able.because,
            "checks": [dataclasses.asdict(check) for check in checks],
        }
        emit(json_text(document, indent=2) + "\n")
    else:
        console = stdout_console()
        console.print(_table(checks))
        console.print(f"\n{printable(able.sentence())}", soft_wrap=True)
    if able.profiler is None:
        raise typer.Exit(CANNOT_RECORD)


def _table(checks: "list[Requirement]") -> "Table":
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
    return table
