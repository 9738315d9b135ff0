"""`tracediff flips`: when does a different batch size choose a different token, and how near was the tie?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.application import ManyValues
from tracediff.cli.model_options import AttentionName, FirstLayers, ModelName, TorchDevice, model_and_device
from tracediff.cli.options import (
    FORMAT_OPTION,
    OF_A_MEASUREMENT,
    TableJson,
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
from tracediff.cli.progress import counting

if TYPE_CHECKING:
    from tracediff.findings.flips import FlipsResult

app = typer.Typer(add_completion=False)


class _FlipsCommand(ManyValues):
    many = ("--batch", "--dtypes", "--dtype")


#: What may be asked of a search that is finished.
_OF_A_RESULT = ("result_file", "out", "html", "figures", "output_format", "everything", "force")


@app.command(cls=_FlipsCommand)
def flips(
    context: typer.Context,
    result_file: Path | None = typer.Argument(
        None, metavar="RESULT", help="Show this result instead of searching; needs neither a GPU nor torch."
    ),
    batch: list[int] = typer.Option([1, 2], help="Batch sizes; the first is compared with each of the others."),
    dtypes: list[str] = typer.Option(
        ["float16"], "--dtypes", "--dtype", help="Precisions to search: fp16, bf16, fp32."
    ),
    tf32: bool = typer.Option(False, "--tf32/--no-tf32", help="Also search float32 with TF32 products."),
    reference: bool = typer.Option(True, help="Compare 16-bit logits with the same weights in float32."),
    prompts: Path | None = typer.Option(
        None, help='File with one prompt per line, or JSON Lines: {"prompt": …, "kind": …}.'
    ),
    chat: bool = typer.Option(False, "--chat", help="Put each prompt into the model's own chat template."),
    random: int = typer.Option(16, help="Without --prompts: how many random prompts."),
    tokens: int = typer.Option(6, help="Tokens of each random prompt."),
    decode: int = typer.Option(32, help="Decode steps after the prefill."),
    mode: str = typer.Option("generate", help="generate, or prefill: every position of one forward is a step."),
    cache: str = typer.Option(
        "dynamic",
        help="Key-value cache. dynamic: grows as in transformers' generation, one prompt at a time. static: of fixed "
        "size, many prompts at a time, on a GPU with CUDA graphs (runs other attention kernels).",
    ),
    mix: bool = typer.Option(
        True,
        help="With a static cache: run many prompts at once where a control shows that no bit changes; --no-mix runs "
        "each by itself.",
    ),
    find: int | None = typer.Option(None, help="Stop each precision after this many flips."),
    model: ModelName = None,
    layers: FirstLayers = None,
    attention: AttentionName = "sdpa",
    remedy: str = typer.Option(
        "default", help="Search with this remedy in force: no-workspace, fused-norm, … (see `tracediff remedies`)."
    ),
    seed: int = typer.Option(0, help="Of random weights and prompts."),
    device: TorchDevice = None,
    out: Path | None = typer.Option(
        None, help="Write the result here; the search can then be interrupted and resumed."
    ),
    html: Path | None = typer.Option(None, help="Also write the HTML page."),
    figures: Path | None = typer.Option(None, help="Also write the figures as SVG and PNG into this directory."),
    output_format: Annotated[TableJson, FORMAT_OPTION] = TableJson.TABLE,
    everything: bool = typer.Option(False, "--all", help="Show every flip's logits."),
    force: bool = typer.Option(False, "--force", help="Replace files that exist; start an unfinished search over."),
) -> None:
    """Search for the steps where a different batch size chooses a different token.

    Every batch size is fed the tokens that the first one chose; the choice is the largest raw logit.

    Example: tracediff flips --batch 1 2 --dtypes float16 bfloat16 float32 --out flips.json
    """
    from tracediff.files import refuse_to_overwrite

    refuse_lost_format(context, html, out)

    if html is not None:
        refuse_to_overwrite(html, force, () if result_file is None else (result_file,))
    if result_file is not None:
        refuse_ignored_options(context, _OF_A_RESULT, OF_A_MEASUREMENT)
        from tracediff.findings.flips_file import read_flips, result_to_json

        if out is not None:
            refuse_to_overwrite(out, force, (result_file,))
        result = read_flips(result_file)
        write_again(result_to_json(result), out, force)
    else:
        from tracediff.dtypes import dtype_named
        from tracediff.measure.flips import FlipRequest, search_flips
        from tracediff.measure.prompts import read_prompts
        from tracediff.model.spec import DTYPES, ModelSpec

        model, device = model_and_device(model, device)
        # An unknown dtype is refused before the first search, not after it.
        dtypes = list(dict.fromkeys(dtype_named(dtype, DTYPES) for dtype in dtypes))
        request = FlipRequest(
            spec=ModelSpec(name=model, dtype=dtypes[0], layers=layers, attention=attention, seed=seed),
            device=device,
            batches=tuple(batch),
            dtypes=tuple(dtypes),
            tf32=tf32,
            reference=reference,
            mode=mode,
            prompts=None if prompts is None else read_prompts(prompts),
            chat=chat,
            cache=cache,
            mix=mix,
            random=random,
            tokens=tokens,
            decode=decode,
            find=find,
            remedy=remedy,
        )
        with counting() as progress:
            result = search_flips(request, out, force=force, progress=progress)
        if out is not None:
            say_written(out)
    _write_pages(result, html, figures, force)
    if stdout_is_free(html, out):
        _RENDERERS[output_format](result, everything)
    shown = result_file or out
    if shown is not None and html is None and figures is None and stdout_is_free(shown):
        page = free_name(Path("flips.html"))
        say(f"Next: {command_line('tracediff', 'flips', shown, '--html', page, '--figures', 'figures')}")


def _write_pages(result: "FlipsResult", html: Path | None, figures: Path | None, force: bool) -> None:
    if html is not None:
        from tracediff.files import write_text
        from tracediff.report.flips.html import flips_to_html

        write_text(html, flips_to_html(result), force)
        say_written(html)
    if figures is not None:
        from tracediff.report.flips.figures import flip_figures
        from tracediff.report.flips.plots import write_images

        for path in write_images(flip_figures(result), figures, force=force):
            say_written(path)


def _print_table(result: "FlipsResult", everything: bool) -> None:
    from tracediff.report.flips.terminal import print_flips

    print_flips(result, stdout_console(), everything)


def _print_json(result: "FlipsResult", _everything: bool) -> None:
    from tracediff.findings.flips_file import result_to_json
    from tracediff.text import json_text

    emit(json_text(result_to_json(result)) + "\n")


_RENDERERS = {TableJson.TABLE: _print_table, TableJson.JSON: _print_json}
