"""`tracediff remedies`: what makes bits independent of the batch, and what it costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.application import ManyValues
from tracediff.cli.model_options import FirstLayers, ModelName, TorchDevice, model_and_device
from tracediff.cli.number_list import numbers
from tracediff.cli.options import (
    FORMAT_OPTION,
    OF_A_MEASUREMENT,
    Format,
    command_line,
    emit,
    refuse_ignored_options,
    refuse_lost_format,
    say,
    say_written,
    stdout_console,
    stdout_is_free,
    write_again,
)
from tracediff.cli.progress import steps_on_stderr

if TYPE_CHECKING:
    from tracediff.findings.remedies import RemediesResult

app = typer.Typer(add_completion=False)


class _RemediesCommand(ManyValues):
    many = ("--remedy", "--beside")


#: What may be asked of a result that is measured already.
_OF_A_RESULT = ("words", "out", "output_format", "force")


@app.command(cls=_RemediesCommand)
def remedies(
    context: typer.Context,
    words: list[str] = typer.Argument(
        None,
        metavar="[RESULT]",
        help="Show this finished result instead of measuring; with --apply the command to run.",
    ),
    model: ModelName = None,
    dtype: str = typer.Option("bfloat16", help="float16, bfloat16 or float32."),
    layers: FirstLayers = None,
    device: TorchDevice = None,
    remedy: list[str] = typer.Option([], help="Remedies to measure, parts joined by +; default all recommended ones."),
    beside: list[str] = typer.Option([], help="Remedies to time in the same rounds without comparing their bits."),
    keys: str = typer.Option("300,4000", help="Cached keys of the decode steps."),
    batch: str = typer.Option("1-64", help="Batch sizes whose bits are compared."),
    prefill: str = typer.Option("1-16", help="The same for the prompt."),
    timed: str = typer.Option("1,8,32,64", help="Batch sizes that are timed."),
    prompt: int = typer.Option(33, help="Tokens of the prompt."),
    rounds: int = typer.Option(5, help="Rounds of timing; in each, every setting takes its turn."),
    reference: bool = typer.Option(True, help="Measure the error against float32 too."),
    seed: int = typer.Option(0, help="Of random weights and inputs."),
    minutes: float | None = typer.Option(None, min=0, help="Stop after this many minutes; the same command goes on."),
    out: Path | None = typer.Option(None, help="Write the result as JSON; interrupted, it goes on from FILE.part."),
    output_format: Annotated[Format, FORMAT_OPTION] = Format.TABLE,
    apply: str | None = typer.Option(
        None, help="Print what this remedy needs; with `-- COMMAND`, run the command with what can be set."
    ),
    force: bool = typer.Option(
        False, "--force", help="Replace a file that exists; start an unfinished measurement over."
    ),
) -> None:
    """Measure what each remedy makes equal over batch sizes, and its GPU time beside the fastest setting's.

    Example: tracediff remedies --out remedies.json; tracediff remedies --apply no-workspace -- python serve.py
    """
    from tracediff.errors import TracediffError
    from tracediff.files import refuse_to_overwrite

    words = words or []
    if apply is not None:
        refuse_ignored_options(context, ("words", "apply"), "means nothing with --apply")
        _apply(apply, words)
        return
    if len(words) > 1:
        raise TracediffError(
            f"one result is shown at a time, not {len(words)}", "name one file; --apply takes a command"
        )
    refuse_lost_format(context, out)
    if out is not None:
        refuse_to_overwrite(out, force, map(Path, words))
    if words:
        refuse_ignored_options(context, _OF_A_RESULT, OF_A_MEASUREMENT)
        from tracediff.findings.remedies import read_remedies

        result = read_remedies(Path(words[0]))
        write_again(result.to_dict(), out, force)
        if stdout_is_free(out):
            _print(result, output_format)
        return
    from tracediff.findings.remedies_catalog import RECOMMENDED
    from tracediff.measure.remedies import RemediesRequest, measure_remedies
    from tracediff.model.spec import ModelSpec

    model, device = model_and_device(model, device)
    request = RemediesRequest(
        spec=ModelSpec(name=model, dtype=dtype, layers=layers, seed=seed),
        device=device,
        settings=tuple(remedy or RECOMMENDED),
        beside=tuple(beside),
        keys=numbers(keys, "--keys", least=0),
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
        say_written(out)
    if stdout_is_free(out):
        _print(result, output_format)
    if out is not None and output_format is Format.TABLE and stdout_is_free(out):
        say(f"Next: {command_line('tracediff', 'remedies', out, '--format', 'markdown')}")


def _print(result: "RemediesResult", output_format: Format) -> None:
    if output_format is Format.JSON:
        from tracediff.report.remedies.json import remedies_to_json

        emit(remedies_to_json(result))
    elif output_format is Format.CSV:
        from tracediff.report.remedies.csv import remedies_to_csv

        emit(remedies_to_csv(result))
    elif output_format is Format.MARKDOWN:
        from tracediff.report.remedies.markdown import remedies_to_markdown

        emit(remedies_to_markdown(result))
    else:
        from tracediff.report.remedies.terminal import print_remedies

        print_remedies(result, stdout_console())


def _apply(name: str, command: list[str]) -> None:
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
    os.execvpe(program, command, {**os.environ, **setting.environment})
