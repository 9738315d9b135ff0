"""`tracediff record`: any program under nsys, with module ranges and cuBLASLt's log, without changing it."""

from pathlib import Path

import typer

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_interspersed_args": False})
def record(
    command: list[str] = typer.Argument(..., metavar="COMMAND…", help="The program and its arguments, after --."),
    out: Path | None = typer.Option(None, help="Folder for the trace; derived below tracediff-runs/ by default."),
    ranges: str = typer.Option(
        "modules",
        help="modules: a range around every torch module's forward; blocks: around blocks and the modules directly "
        "below; none: the program's own alone.",
    ),
    steps: str | None = typer.Option(
        None, metavar="A:B", help="Keep only steps A to B (forwards of the root module, from 0, without B)."
    ),
    nsys_args: list[str] = typer.Option([], help="Further options of nsys profile, in quotes; may be repeated."),
    algorithm_log: bool = typer.Option(
        True, "--algorithm-log/--no-algorithm-log", help="Mark in the trace which algorithm cuBLASLt chose."
    ),
    nsys: Path | None = typer.Option(None, help="The nsys to use; looked for by default."),
    force: bool = typer.Option(False, "--force", help="Write into a folder that holds files."),
) -> None:
    """Record any program (a script, torchrun, a server) under nsys, in all its processes, as a clean trace.

    Ctrl-C and SIGTERM end the program and keep what was recorded. SIGUSR1 switches keeping on and off; a program that
    calls cudaProfilerStart and -Stop bounds it itself. Exits with the program's own code.

    Example: tracediff record --out runs/serve -- python serve.py --port 8000
    """
    from tracediff.capture.record.options import RecordOptions, StepRange
    from tracediff.capture.record.run import record as run
    from tracediff.cli.options import say

    options = RecordOptions(
        command=tuple(command),
        out=out,
        ranges=ranges,
        steps=None if steps is None else StepRange.parse(steps),
        nsys_args=tuple(nsys_args),
        algorithm_log=algorithm_log,
        nsys=nsys,
        force=force,
    )
    # The program has stdout to itself.
    result = run(options, lambda line: say(f"tracediff: {line} …"))
    for warning in result.warnings:
        say(f"warning: {warning}")
    for line in result.summary():
        say(line)
    raise typer.Exit(result.code)
