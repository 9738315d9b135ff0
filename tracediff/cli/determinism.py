"""`tracediff determinism`: do the same operations on the same input give the same bits, run after run?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.application import ManyValues
from tracediff.cli.model_options import FirstLayers, ModelName, TorchDevice, model_and_device
from tracediff.cli.options import (
    FORMAT_OPTION,
    OF_A_MEASUREMENT,
    TableJson,
    emit,
    refuse_ignored_options,
    refuse_lost_format,
    say_written,
    stdout_console,
    stdout_is_free,
)
from tracediff.cli.progress import steps_on_stderr

if TYPE_CHECKING:
    from tracediff.findings.determinism import DeterminismResult

app = typer.Typer(add_completion=False)


class _DeterminismCommand(ManyValues):
    many = ("--dtypes", "--dtype")


#: What may be asked of a result that is measured already.
_OF_A_RESULT = ("result_file", "out", "output_format", "everything", "force")


@app.command(cls=_DeterminismCommand)
def determinism(
    context: typer.Context,
    result_file: Path | None = typer.Argument(
        None, metavar="RESULT", help="Show this finished result instead of measuring; needs no torch."
    ),
    device: TorchDevice = None,
    dtypes: list[str] = typer.Option(["float16", "bfloat16", "float32"], "--dtypes", "--dtype", help="Input dtypes."),
    repeats: int = typer.Option(30, help="Runs of each operation."),
    model: ModelName = None,
    no_model: bool = typer.Option(False, "--no-model", help="Operations only, no model."),
    layers: FirstLayers = None,
    tokens: int = typer.Option(6, help="Tokens of the model's prompt."),
    seed: int = typer.Option(0, help="Of inputs, random weights and prompt."),
    out: Path | None = typer.Option(None, help="Also write the result as JSON."),
    output_format: Annotated[TableJson, FORMAT_OPTION] = TableJson.TABLE,
    everything: bool = typer.Option(False, "--all", help="Show every operation, also those whose bits repeat."),
    force: bool = typer.Option(False, "--force", help="Replace a file that exists."),
) -> None:
    """Repeat operations and a whole model's forward; say which vary, from which run on, by how much.

    In torch's default settings and in its deterministic ones.

    Example: tracediff determinism --out determinism.json
    """
    from tracediff.files import refuse_to_overwrite, write_text
    from tracediff.text import json_text

    refuse_lost_format(context, out)
    if out is not None:
        refuse_to_overwrite(out, force, () if result_file is None else (result_file,))
    if result_file is not None:
        refuse_ignored_options(context, _OF_A_RESULT, OF_A_MEASUREMENT)
        from tracediff.findings.determinism import read_determinism

        result = read_determinism(result_file)
    else:
        from tracediff.measure.determinism import DeterminismRequest, measure_determinism

        model, device = model_and_device(model, device)
        request = DeterminismRequest(
            device=device,
            dtypes=tuple(dict.fromkeys(dtypes)),
            repeats=repeats,
            model=None if no_model else model,
            layers=layers,
            tokens=tokens,
            seed=seed,
        )
        with steps_on_stderr() as status:
            result = measure_determinism(request, status)
    if out is not None:
        write_text(out, json_text(result.to_dict(), indent=1) + "\n", force)
        say_written(out)
    if stdout_is_free(out):
        _RENDERERS[output_format](result, everything)


def _print_table(result: "DeterminismResult", everything: bool) -> None:
    from tracediff.report.determinism.terminal import print_determinism

    print_determinism(result, stdout_console(), everything)


def _print_json(result: "DeterminismResult", _everything: bool) -> None:
    from tracediff.text import json_text

    emit(json_text(result.to_dict()) + "\n")


_RENDERERS = {TableJson.TABLE: _print_table, TableJson.JSON: _print_json}
