"""`tracediff capture`: record a model at several batch sizes."""

from pathlib import Path

import click

from tracediff.cli.application import GATE_FAILED, Command, SeveralValues
from tracediff.cli.options import PATH


@click.command(cls=Command)
@click.option(
    "--batch",
    cls=SeveralValues,
    type=int,
    required=True,
    help="Rows per forward; several: `--batch 1 2`, `--batch 1,2`.",
)
@click.option(
    "--model",
    default="llama-3-8b",
    help="llama-3-8b, llama-3.2-1b, llama-3.2-3b, llama-2-7b or tiny (random weights, nothing to "
    "download), a local directory, a GGUF file, or a hub id.",
)
@click.option("--dtype", default="float16", help="float16, bfloat16 or float32.")
@click.option("--prompt", help="Text of the prompt; every row of a batch gets the same. manifest.json holds it.")
@click.option(
    "--store-prompt/--no-store-prompt",
    default=True,
    help="Keep the prompt's text and token ids in manifest.json. Logits and chosen tokens are stored either way.",
)
@click.option("--tokens", type=int, default=6, help="Length of a random prompt, where no text is given.")
@click.option("--decode", type=int, default=2, help="Decode steps after the prefill.")
@click.option("--layers", type=int, help="Keep only the first so many blocks.")
@click.option(
    "--attention",
    default="sdpa",
    help="sdpa (torch chooses a backend), one of its backends (flash, efficient, cudnn, math), or eager.",
)
@click.option("--seed", type=int, default=0, help="Seed of random weights and prompt.")
@click.option(
    "--profiler",
    default="auto",
    help="nsys; torch (its own profiler; without a GPU it records operators); auto: nsys where it works.",
)
@click.option("--out", type=PATH, help="Folder for the traces; derived below tracediff-runs/ by default.")
@click.option(
    "--algorithm-log/--no-algorithm-log", default=True, help="Mark in the trace which algorithm cuBLASLt chose."
)
@click.option(
    "--keep-reports", is_flag=True, help="Keep nsys's own reports too; they hold the environment of the process."
)
@click.option(
    "--evidence/--no-evidence",
    default=None,
    help="Measure bits after recording: replay of every module, repair, controls; on by default on a GPU.",
)
@click.option(
    "--activations", is_flag=True, help="Store with the evidence what every module that changes bits put out."
)
@click.option("--nsys", type=PATH, help="The nsys to use; looked for by default.")
@click.option("--force", is_flag=True, help="Write into a folder that holds files.")
def capture(
    batch: tuple[int, ...],
    model: str,
    dtype: str,
    prompt: str | None,
    store_prompt: bool,
    tokens: int,
    decode: int,
    layers: int | None,
    attention: str,
    seed: int,
    profiler: str,
    out: Path | None,
    algorithm_log: bool,
    keep_reports: bool,
    evidence: bool | None,
    activations: bool,
    nsys: Path | None,
    force: bool,
) -> None:
    """Record a model's forwards at several batch sizes under a profiler, one clean trace per batch size.

    Exits 1 where the evidence shows that rows of a batch leak into each other; everything is written all the same.
    """
    from tracediff.capture import run
    from tracediff.capture.options import CaptureOptions
    from tracediff.cli.last_words import what_was_found
    from tracediff.cli.progress import steps_on_stderr
    from tracediff.measure import step as measuring
    from tracediff.model.spec import ModelSpec

    options = CaptureOptions(
        spec=ModelSpec(name=model, dtype=dtype, layers=layers, attention=attention, seed=seed),
        batches=tuple(batch),
        prompt=prompt,
        store_prompt=store_prompt,
        tokens=tokens,
        decode=decode,
        profiler=profiler,
        out=out,
        algorithm_log=algorithm_log,
        keep_reports=keep_reports,
        force=force,
        nsys=nsys,
        evidence=evidence,
        activations=activations,
    )
    measured = measuring.StepResult()
    with steps_on_stderr() as step:
        captured = run.capture(options, step)
        if options.measures_evidence_on(captured.device):
            step("measuring bits")
            job = measuring.EvidenceJob(
                spec=options.spec,
                device=captured.device,
                batches=options.batches,
                prompt_tokens=captured.prompt_tokens,
                decode_tokens=tuple(captured.manifest.decode_tokens),
                recorded_hashes=captured.logits_hashes,
                out=captured.folder,
                activations=activations,
                traces=captured.traces_by_batch,
            )
            measured = measuring.measure_evidence(job)
    for warning in (*captured.warnings, *measured.findings):
        click.echo(f"warning: {warning}", err=True)
    if captured.kept_reports:
        click.echo("warning: .nsys-rep files hold the environment of the recorded process: do not share them", err=True)
    click.echo(captured.summary(measured.files, what_was_found(captured.traces_by_batch, measured.evidence)))
    if measured.leak:
        raise click.exceptions.Exit(GATE_FAILED)
