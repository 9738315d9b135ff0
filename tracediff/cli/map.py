"""`tracediff map`: which row counts give the same bits, per module and for the whole forward."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.model_options import FirstLayers, ModelName, TorchDevice, model_and_device
from tracediff.cli.number_list import numbers
from tracediff.cli.options import (
    FORMAT_OPTION,
    OF_A_MEASUREMENT,
    TableJson,
    TableJsonCsv,
    command_line,
    emit,
    free_name,
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
    from tracediff.findings.maps import BatchMap

app = typer.Typer(add_completion=False)


#: What may be asked of a map that is measured already.
_OF_A_RESULT = ("result_file", "make_equal", "buckets", "out", "html", "csv", "parquet", "output_format", "force")


@app.command("map")
def map_rows(
    context: typer.Context,
    result_file: Path | None = typer.Argument(
        None, metavar="MAP", help="Show this finished map instead of measuring; needs no GPU and no torch."
    ),
    model: ModelName = None,
    dtype: str = typer.Option("bfloat16", help="float16, bfloat16 or float32."),
    layers: FirstLayers = None,
    device: TorchDevice = None,
    remedy: str = typer.Option(
        "default", help="Measure with this remedy in force, as `tracediff remedies` names it; parts joined by +."
    ),
    rows: str = typer.Option("1-512", help="Row counts of each module."),
    forward: str = typer.Option(
        "1-32,40,48,56,64,80,96,112,128,160,192,224,256", help="Row counts of the whole forward; `none` leaves it out."
    ),
    keys: str = typer.Option("300", help="Cached keys of attention and the forward, as 0,300,2000."),
    seed: int = typer.Option(0, help="Of random weights and inputs."),
    minutes: float | None = typer.Option(None, min=0, help="Stop after this many minutes; the same command goes on."),
    make_equal: str | None = typer.Option(
        None, help="Row counts that padding must make equal, as 1-64, which is the default."
    ),
    buckets: str | None = typer.Option(None, help="A server's CUDA-graph sizes, as 1,2,4,8,16: which are equal?"),
    out: Path | None = typer.Option(None, help="Write the map as JSON; an interrupted map goes on from FILE.part."),
    html: Path | None = typer.Option(None, help="Also write one page with a strip per module."),
    csv: Path | None = typer.Option(None, help="Also write one CSV row per module and row count."),
    parquet: Path | None = typer.Option(None, help="The same as Parquet."),
    output_format: Annotated[TableJsonCsv, FORMAT_OPTION] = TableJsonCsv.TABLE,
    force: bool = typer.Option(False, "--force", help="Replace files that exist; start an unfinished map over."),
) -> None:
    """Map which row counts give the same bits, what breaks a class, and the cheapest padding that mends it.

    Two maps are compared by `tracediff diff a.json b.json`.

    Example: tracediff map --out map.json --html map.html
    """
    from tracediff.files import refuse_to_overwrite

    refuse_lost_format(context, out, html, csv, parquet)

    inputs = () if result_file is None else (result_file,)
    for path in (out, html, csv, parquet):
        if path is not None:
            refuse_to_overwrite(path, force, inputs)
    wanted = None if make_equal is None else numbers(make_equal, "--make-equal")
    sizes = None if buckets is None else numbers(buckets, "--buckets")
    if result_file is not None:
        refuse_ignored_options(context, _OF_A_RESULT, OF_A_MEASUREMENT)
        from tracediff.findings.maps import read_map

        result = read_map(result_file)
        write_again(result.to_dict(), out, force)
    else:
        from tracediff.measure.maps import MapRequest, measure_map
        from tracediff.model.spec import ModelSpec

        model, device = model_and_device(model, device)
        request = MapRequest(
            spec=ModelSpec(name=model, dtype=dtype, layers=layers, seed=seed),
            device=device,
            setting=remedy,
            rows=numbers(rows, "--rows"),
            forward_rows=() if forward == "none" else numbers(forward, "--forward"),
            keys=numbers(keys, "--keys", least=0),
            minutes=minutes,
        )
        with steps_on_stderr() as status:
            result = measure_map(request, out, force=force, progress=status)
        if out is not None and out.exists():
            say_written(out)
    _write_pages(result, html, csv, parquet, wanted, sizes, force)
    if stdout_is_free(out, html, csv, parquet):
        _print(result, output_format, wanted, sizes)
    shown = result_file or out
    if shown is not None and html is None and output_format is TableJsonCsv.TABLE and stdout_is_free(shown):
        say(f"Next: {command_line('tracediff', 'map', shown, '--html', free_name(Path('map.html')))}")


def _write_pages(
    result: "BatchMap",
    html: Path | None,
    csv: Path | None,
    parquet: Path | None,
    wanted: tuple[int, ...] | None,
    buckets: tuple[int, ...] | None,
    force: bool,
) -> None:
    from tracediff.files import write_text

    if html is not None:
        from tracediff.report.map.html import map_to_html

        write_text(html, map_to_html(result, wanted, buckets), force)
        say_written(html)
    if csv is not None:
        from tracediff.report.map.rows import map_to_csv

        write_text(csv, map_to_csv(result), force)
        say_written(csv)
    if parquet is not None:
        from tracediff.report.map.rows import write_parquet

        write_parquet(result, parquet, force)
        say_written(parquet)


def _print(
    result: "BatchMap", output_format: TableJsonCsv, wanted: tuple[int, ...] | None, buckets: tuple[int, ...] | None
) -> None:
    if output_format is TableJsonCsv.JSON:
        from tracediff.report.map.json import map_to_json

        emit(map_to_json(result, wanted, buckets))
    elif output_format is TableJsonCsv.CSV:
        from tracediff.report.map.rows import map_to_csv

        emit(map_to_csv(result))
    else:
        from tracediff.report.map.terminal import print_map

        print_map(result, stdout_console(), wanted, buckets)


_OF_A_MAP_DIFF = ("a", "others", "output_format", "fail_on")


def diff_maps(context: typer.Context, a: Path, others: "list[Path]", output_format: str, fail_on: "list[str]") -> None:
    """Compare two maps for `tracediff diff`: print, then exit 1 where a gate of `--fail-on` fails.

    Raises:
        TracediffError: Not exactly two, not both maps, another format, an unknown gate, or an option for traces.
    """
    from tracediff.cli.application import GATE_FAILED
    from tracediff.errors import TracediffError
    from tracediff.findings.maps import read_map
    from tracediff.findings.maps_compare import compare_maps, gates_named
    from tracediff.report.map.compare import map_diff_to_json, print_map_diff

    refuse_ignored_options(context, _OF_A_MAP_DIFF, "is not made for maps")
    if len(others) != 1:
        raise TracediffError("maps are compared two at a time", "name two map files")
    if output_format not in list(TableJson):
        raise TracediffError(f"--format {output_format} is not made for maps", "choose table or json")
    gates = gates_named(fail_on)
    diff = compare_maps(read_map(a), read_map(others[0]))
    if output_format == TableJson.JSON:
        emit(map_diff_to_json(diff))
    else:
        print_map_diff(diff, stdout_console())
    failed = diff.failing(gates)
    if failed:
        say(f"Failed: {', '.join(f'{count} × {gate}' for gate, count in failed.items())}")
        raise typer.Exit(GATE_FAILED)
