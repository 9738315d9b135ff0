"""`tracediff remedies`: what makes bits independent of the batch, and what it costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracediff.cli.application import Argument, Command, SeveralValues
from tracediff.cli.model_options import device_option, layers_option, model_and_device, model_option
from tracediff.cli.number_list import numbers
from tracediff.cli.options import PATH, Format, command_line, emit, format_option, say, stdout_console
from tracediff.cli.progress import steps_on_stderr

if TYPE_CHECKING:
    from tracediff.findings.remedies import RemediesResult


@click.command(cls=Command)
@click.argument(
    "words",
    cls=Argument,
    metavar="[RESULT]",
    nargs=-1,
    help="Show this finished result instead of measuring; with --apply the command to run.",
)
@model_option
@click.option("--dtype", default="bfloat16", help="float16, bfloat16 or float32.")
@layers_option
@device_option
@click.option(
    "--settings", cls=SeveralValues, help="Settings to measure, parts joined by +; default all recommended ones."
)
@click.option("--keys", default="300,4000", help="Cached keys of the decode steps.")
@click.option("--batch", default="1-64", help="Batch sizes whose bits are compared.")
@click.option("--prefill", default="1-16", help="The same for the prompt.")
@click.option("--timed", default="1,8,32,64", help="Batch sizes that are timed.")
@click.option("--prompt", type=int, default=33, help="Tokens of the prompt.")
@click.option("--rounds", type=int, default=5, help="Rounds of timing; in each, every setting takes its turn.")
@click.option("--reference/--no-reference", default=True, help="Measure the error against float32 too.")
@click.option("--seed", type=int, default=0, help="Of random weights and inputs.")
@click.option("--minutes", type=float, help="Stop after so many; the same command goes on.")
@click.option("--out", type=PATH, help="Write the result as JSON; interrupted, it goes on from FILE.part.")
@format_option(Format)
@click.option("--apply", help="Print what this setting needs; with `-- COMMAND`, run the command with what can be set.")
@click.option("--force", is_flag=True, help="Replace a file that exists; start an unfinished measurement over.")
def remedies(
    words: tuple[str, ...],
    model: str | None,
    dtype: str,
    layers: int | None,
    device: str | None,
    settings: tuple[str, ...],
    keys: str,
    batch: str,
    prefill: str,
    timed: str,
    prompt: int,
    rounds: int,
    reference: bool,
    seed: int,
    minutes: float | None,
    out: Path | None,
    output_format: Format,
    apply: str | None,
    force: bool,
) -> None:
    """Measure what each remedy makes equal over batch sizes, and its GPU time beside the fastest setting's.

    Example: tracediff remedies --out remedies.json; tracediff remedies --apply no-workspace -- python serve.py
    """
    from tracediff.errors import TracediffError
    from tracediff.files import refuse_to_overwrite

    if apply is not None:
        _apply(apply, words)
        return
    if len(words) > 1:
        raise TracediffError(
            f"one result is shown at a time, not {len(words)}", "name one file; --apply takes a command"
        )
    if out is not None:
        refuse_to_overwrite(out, force, map(Path, words))
    if words:
        from tracediff.findings.remedies import read_remedies

        _print(read_remedies(Path(words[0])), output_format)
        return
    from tracediff.findings.remedies_catalog import RECOMMENDED
    from tracediff.measure.remedies import RemediesRequest, measure_remedies
    from tracediff.model.spec import ModelSpec

    model, device = model_and_device(model, device)
    request = RemediesRequest(
        spec=ModelSpec(name=model, dtype=dtype, layers=layers, seed=seed),
        device=device,
        settings=tuple(settings or RECOMMENDED),
        keys=numbers(keys, "--keys"),
        batches=numbers(batch, "--batch"),
        prefill_batches=numbers(prefill, "--prefill"),
        timed_batches=numbers(timed, "--timed"),
        prompt=prompt,
        rounds=rounds,
        reference=reference,
        minutes=minutes,
    )
    with steps_on_stderr() as status:
        result = measure_remedies(request, out, force=force, progress=status)
    if out is not None and out.exists():
        say(f"Wrote {out}")
    _print(result, output_format)
    if out is not None and output_format is Format.TABLE:
        say(f"Next: {command_line('tracediff', 'remedies', out, '--format', 'markdown')}")


def _print(result: "RemediesResult", output_format: Format) -> None:
    if output_format is Format.JSON:
        from tracediff.text import json_text

        emit(json_text(result.to_dict()) + "\n")
    elif output_format is Format.CSV:
        from tracediff.report.remedies.csv import remedies_to_csv

        emit(remedies_to_csv(result))
    elif output_format is Format.MARKDOWN:
        from tracediff.report.remedies.markdown import remedies_to_markdown

        emit(remedies_to_markdown(result))
    else:
        from tracediff.report.remedies.terminal import print_remedies

        print_remedies(result, stdout_console())


def _apply(name: str, command: Sequence[str]) -> None:
    """Print what a setting needs, or run a command with its environment and say what that could not set."""
    import os
    import shutil

    from tracediff.errors import TracediffError
    from tracediff.findings.remedies_catalog import setting_named
    from tracediff.report.remedies.apply import setting_to_shell, what_code_must_do

    setting = setting_named(name)
    if not command:
        emit(setting_to_shell(setting))
        return
    program = shutil.which(command[0])
    if program is None:
        raise TracediffError(f"no such command: {command[0]}", "give it after --, as -- python serve.py")
    for name_set, value in setting.environment.items():
        say(f"Set {name_set}={value}")
    for line in what_code_must_do(setting):
        say(f"Not set: {line}" if not line.startswith(" ") else line)
    os.execvpe(program, list(command), {**os.environ, **setting.environment})
