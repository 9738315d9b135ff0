"""`tracediff determinism`: do the same operations on the same input give the same bits, run after run?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracediff.cli.application import Argument, Command, SeveralValues
from tracediff.cli.model_options import device_option, layers_option, model_and_device, model_option
from tracediff.cli.options import PATH, TableJson, emit, format_option, say, stdout_console
from tracediff.cli.progress import steps_on_stderr

if TYPE_CHECKING:
    from tracediff.findings.determinism import DeterminismResult


@click.command(cls=Command)
@click.argument(
    "result_file",
    cls=Argument,
    metavar="[RESULT]",
    type=PATH,
    required=False,
    help="Show this finished result instead of measuring; needs no torch.",
)
@device_option
@click.option(
    "--dtypes", "--dtype", cls=SeveralValues, default=["float16", "bfloat16", "float32"], help="Input dtypes."
)
@click.option("--repeats", type=int, default=30, help="Runs of each operation.")
@model_option
@click.option("--no-model", is_flag=True, help="Operations only, no model.")
@layers_option
@click.option("--tokens", type=int, default=6, help="Tokens of the model's prompt.")
@click.option("--seed", type=int, default=0, help="Of inputs, random weights and prompt.")
@click.option("--out", type=PATH, help="Also write the result as JSON.")
@format_option(TableJson)
@click.option("--all", "everything", is_flag=True, help="Show every operation, also those whose bits repeat.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def determinism(
    result_file: Path | None,
    device: str | None,
    dtypes: tuple[str, ...],
    repeats: int,
    model: str | None,
    no_model: bool,
    layers: int | None,
    tokens: int,
    seed: int,
    out: Path | None,
    output_format: TableJson,
    everything: bool,
    force: bool,
) -> None:
    """Repeat operations and a whole model's forward; say which vary, from which run on, by how much.

    Default settings and torch's deterministic ones. Example: tracediff determinism --out determinism.json
    """
    from tracediff.files import refuse_to_overwrite, write_text
    from tracediff.text import json_text

    if out is not None:
        refuse_to_overwrite(out, force)
    if result_file is not None:
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
        say(f"Wrote {out}")
    _RENDERERS[output_format](result, everything)


def _print_table(result: "DeterminismResult", everything: bool) -> None:
    from tracediff.report.determinism.terminal import print_determinism

    print_determinism(result, stdout_console(), everything)


def _print_json(result: "DeterminismResult", _everything: bool) -> None:
    from tracediff.text import json_text

    emit(json_text(result.to_dict()) + "\n")


_RENDERERS = {TableJson.TABLE: _print_table, TableJson.JSON: _print_json}
