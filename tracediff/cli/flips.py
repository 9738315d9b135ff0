"""`tracediff flips`: when does another batch size choose another token, and how near was the tie?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracediff.cli.application import Argument, Command, SeveralValues
from tracediff.cli.model_options import device_option, layers_option, model_and_device, model_option
from tracediff.cli.options import PATH, TableJson, command_line, emit, format_option, say, stdout_console
from tracediff.cli.progress import counting

if TYPE_CHECKING:
    from tracediff.findings.flips import FlipsResult


@click.command(cls=Command)
@click.argument(
    "result_file",
    cls=Argument,
    metavar="[RESULT]",
    type=PATH,
    required=False,
    help="Show this result instead of searching; needs neither a GPU nor torch.",
)
@click.option(
    "--batch",
    cls=SeveralValues,
    type=int,
    default=[1, 2],
    help="Batch sizes; the first is compared with each of the others.",
)
@click.option(
    "--dtypes", "--dtype", cls=SeveralValues, default=["float16"], help="Precisions to search: fp16, bf16, fp32."
)
@click.option("--tf32/--no-tf32", default=False, help="Also search float32 with TF32 products.")
@click.option(
    "--reference/--no-reference", default=True, help="Compare 16-bit logits with the same weights in float32."
)
@click.option("--prompts", type=PATH, help='File with one prompt per line, or JSON Lines: {"prompt": …, "kind": …}.')
@click.option("--chat", is_flag=True, help="Put each prompt into the model's own chat template.")
@click.option("--random", type=int, default=16, help="Without --prompts: how many random prompts.")
@click.option("--tokens", type=int, default=6, help="Tokens of each random prompt.")
@click.option("--decode", type=int, default=32, help="Decode steps after the prefill.")
@click.option("--mode", default="generate", help="generate, or prefill: every position of one forward is a step.")
@click.option(
    "--cache",
    default="dynamic",
    help="Key-value cache. dynamic: grows as in transformers' generation, one prompt at a time. static: of"
    " fixed size, many prompts at a time, on a GPU with CUDA graphs (runs other attention kernels).",
)
@click.option(
    "--mix/--no-mix",
    default=True,
    help="With a static cache: put different prompts into one batch where a control shows that no bit changes.",
)
@click.option("--find", type=int, help="Stop each precision after so many flips.")
@model_option
@layers_option
@click.option("--attention", default="sdpa", help="sdpa (torch chooses), flash, efficient, cudnn, math or eager.")
@click.option("--seed", type=int, default=0, help="Of random weights and prompts.")
@device_option
@click.option("--out", type=PATH, help="Write the result here; the search can then be interrupted and resumed.")
@click.option("--html", type=PATH, help="Also write the HTML page.")
@click.option("--figures", type=PATH, help="Also write the figures as SVG and PNG into this directory.")
@format_option(TableJson)
@click.option("--all", "everything", is_flag=True, help="Show every flip's logits.")
@click.option("--force", is_flag=True, help="Replace files that exist; start an unfinished search over.")
def flips(
    result_file: Path | None,
    batch: tuple[int, ...],
    dtypes: tuple[str, ...],
    tf32: bool,
    reference: bool,
    prompts: Path | None,
    chat: bool,
    random: int,
    tokens: int,
    decode: int,
    mode: str,
    cache: str,
    mix: bool,
    find: int | None,
    model: str | None,
    layers: int | None,
    attention: str,
    seed: int,
    device: str | None,
    out: Path | None,
    html: Path | None,
    figures: Path | None,
    output_format: TableJson,
    everything: bool,
    force: bool,
) -> None:
    """Search for the steps where another batch size chooses another token.

    Every batch size is fed the tokens that the first one chose; the choice is the largest raw logit.

    Example: tracediff flips --batch 1 2 --dtypes float16 bfloat16 float32 --out flips.json
    """
    from tracediff.files import refuse_to_overwrite

    if html is not None:
        refuse_to_overwrite(html, force)
    if result_file is not None:
        from tracediff.findings.flips_file import read_flips

        result = read_flips(result_file)
    else:
        from tracediff.dtypes import dtype_named
        from tracediff.measure.flips import FlipRequest, search_flips
        from tracediff.measure.prompts import read_prompts
        from tracediff.model.spec import DTYPES, ModelSpec

        model, device = model_and_device(model, device)
        # An unknown dtype is refused before the first search, not after it.
        dtypes = tuple(dict.fromkeys(dtype_named(dtype, DTYPES) for dtype in dtypes))
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
        )
        with counting() as progress:
            result = search_flips(request, out, force=force, progress=progress)
        if out is not None:
            say(f"Wrote {out}")
    _write_pages(result, html, figures, force)
    _RENDERERS[output_format](result, everything)
    shown = result_file or out
    if shown is not None and html is None and figures is None:
        say(f"Next: {command_line('tracediff', 'flips', shown, '--html', 'flips.html', '--figures', 'figures')}")


def _write_pages(result: "FlipsResult", html: Path | None, figures: Path | None, force: bool) -> None:
    if html is not None:
        from tracediff.files import write_text
        from tracediff.report.flips.html import flips_to_html

        write_text(html, flips_to_html(result), force)
        say(f"Wrote {html}")
    if figures is not None:
        from tracediff.report.flips.figures import flip_figures, write_images

        for path in write_images(flip_figures(result), figures, force=force):
            say(f"Wrote {path}")


def _print_table(result: "FlipsResult", everything: bool) -> None:
    from tracediff.report.flips.terminal import print_flips

    print_flips(result, stdout_console(), everything)


def _print_json(result: "FlipsResult", _everything: bool) -> None:
    from tracediff.findings.flips_file import result_to_json
    from tracediff.text import json_text

    emit(json_text(result_to_json(result)) + "\n")


_RENDERERS = {TableJson.TABLE: _print_table, TableJson.JSON: _print_json}
