"""`tracediff ingest`: many traces into one Parquet dataset."""

from pathlib import Path

import typer

from tracediff.cli.application import TROUBLE
from tracediff.cli.options import command_line, say
from tracediff.text import count

app = typer.Typer(add_completion=False)


@app.command()
def ingest(
    traces: list[Path] = typer.Argument(help="Traces of any kind, or folders that hold traces."),
    out: Path = typer.Option(help="The dataset to write or extend; traces that it already holds are skipped."),
    scheduler: str | None = typer.Option(None, help="Address of a Dask scheduler (tcp://host:8786)."),
    workers: int | None = typer.Option(None, min=1, help="Worker processes on this machine; one per core by default."),
) -> None:
    """Write the kernel tables of many traces into one Parquet dataset, in parallel. Run it again to add new ones.

    Example: tracediff ingest traces/*.sqlite --out fleet && tracediff fleet fleet
    """
    from tracediff.fleet.ingest import Outcome, count_held
    from tracediff.fleet.ingest import ingest as ingest_traces
    from tracediff.fleet.sources import traces_in

    found = traces_in(traces)
    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.problem:
            say(outcome.problem)

    try:
        ingest_traces(found, out, scheduler=scheduler, workers=workers, progress=note)
    except KeyboardInterrupt:
        held = count_held(found, out)
        say(f"Interrupted: the dataset holds {held} of {count(len(found), 'trace')}; the same command does the rest")
        raise
    failed = sum(outcome.problem is not None for outcome in outcomes)
    written = [outcome.kernels for outcome in outcomes if outcome.kernels is not None]
    there = len(outcomes) - failed - len(written)
    what = f"{count(len(written), 'trace')} with {count(sum(written), 'kernel')}"
    say(f"Wrote {what} to {out}; {there} already there, {failed} failed")
    if failed:
        raise typer.Exit(TROUBLE)
    say(f"Next: {command_line('tracediff', 'fleet', out)}")
