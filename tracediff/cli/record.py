"""`tracediff record`: any program under nsys, with module ranges and cuBLASLt's log, without changing it."""

from pathlib import Path

import click

from tracediff.cli.application import Argument, Command
from tracediff.cli.options import PATH, say


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.argument(
    "command",
    cls=Argument,
    metavar="COMMAND…",
    nargs=-1,
    required=True,
    help="The program and its arguments, after --.",
)
@click.option("--out", type=PATH, help="Folder for the trace; derived below tracediff-runs/ by default.")
@click.option(
    "--ranges",
    default="modules",
    help="modules: a range around every torch module's forward; none: the program's own alone.",
)
@click.option("--steps", metavar="A:B", help="Keep only steps A to B (forwards of the root module, from 0, without B).")
@click.option("--nsys-args", multiple=True, help="Further options of nsys profile, in quotes; may be repeated.")
@click.option(
    "--algorithm-log/--no-algorithm-log", default=True, help="Mark in the trace which algorithm cuBLASLt chose."
)
@click.option("--nsys", type=PATH, help="The nsys to use; looked for by default.")
@click.option("--force", is_flag=True, help="Write into a folder that holds files.")
def record(
    command: tuple[str, ...],
    out: Path | None,
    ranges: str,
    steps: str | None,
    nsys_args: tuple[str, ...],
    algorithm_log: bool,
    nsys: Path | None,
    force: bool,
) -> None:
    """Record any program (a script, torchrun, a server) under nsys, in all its processes, as a clean trace.

    Ctrl-C and SIGTERM end the program and keep what was recorded. SIGUSR1 switches keeping on and off; a program that
    calls cudaProfilerStart and -Stop bounds it itself. Exits with the program's own code.

    Example: tracediff record --out runs/serve -- python serve.py --port 8000
    """
    from tracediff.capture.record.options import RecordOptions, StepRange
    from tracediff.capture.record.run import record as run

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
    raise click.exceptions.Exit(result.code)
