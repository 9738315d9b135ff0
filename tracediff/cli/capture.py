"""`tracediff capture`: record a model at several batch sizes."""

from pathlib import Path

import typer

from tracediff.cli.application import GATE_FAILED, ManyValues
from tracediff.cli.model_options import AttentionName

app = typer.Typer(add_completion=False)


class _Capture(ManyValues):
    many = ("--batch",)


@app.command(cls=_Capture)
def capture(
    batch: list[int] = typer.Option(..., help="Rows per forward; several: `--batch 1 2`, `--batch 1,2`."),
    model: str = typer.Option(
        "llama-3-8b",
        help="llama-3-8b, llama-3.2-1b, llama-3.2-3b, llama-2-7b or tiny (random weights, nothing to download), "
        "a local directory, a GGUF file, or a hub id.",
    ),
    dtype: str = typer.Option("float16", help="float16, bfloat16 or float32."),
    prompt: str | None = typer.Option(
        None, help="Text of the prompt; every row of a batch gets the same. manifest.json holds it."
    ),
    chat: bool = typer.Option(False, "--chat", help="Put the prompt into the model's own chat template."),
    store_prompt: bool = typer.Option(
        True,
        "--store-prompt/--no-store-prompt",
        help="Keep the prompt's text and token ids in manifest.json. Logits and chosen tokens are stored either way.",
    ),
    tokens: int = typer.Option(6, help="Length of a random prompt, where no text is given."),
    decode: int = typer.Option(2, help="Decode steps after the prefill."),
    layers: int | None = typer.Option(None, help="Keep only this many blocks, from the first."),
    attention: AttentionName = "sdpa",
    seed: int = typer.Option(0, help="Seed of random weights and prompt."),
    profiler: str = typer.Option(
        "auto", help="nsys; torch (its own profiler; without a GPU it records operators); auto: nsys where it works."
    ),
    out: Path | None = typer.Option(None, help="Folder for the traces; derived below tracediff-runs/ by default."),
    algorithm_log: bool = typer.Option(
        True, "--algorithm-log/--no-algorithm-log", help="Mark in the trace which algorithm cuBLASLt chose."
    ),
    keep_reports: bool = typer.Option(
        False, "--keep-reports", help="Keep nsys's own reports too; they hold the environment of the process."
    ),
    evidence: bool | None = typer.Option(
        None,
        "--evidence/--no-evidence",
        help="Measure bits after recording: replay of every module, repair, controls; on by default on a GPU.",
    ),
    activations: bool = typer.Option(
        False, "--activations", help="Store with the evidence what every module that changes bits put out."
    ),
    nsys: Path | None = typer.Option(None, help="The nsys to use; looked for by default."),
    force: bool = typer.Option(False, "--force", help="Write into a folder that holds files."),
) -> None:
    """Record a model's forwards at several batch sizes under a profiler, one clean trace per batch size.

    Exits 1 where the evidence shows that rows of a batch leak into each other; everything is written all the same.

    Example: tracediff capture --batch 1 2
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
        chat=chat,
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
        typer.echo(f"warning: {warning}", err=True)
    if captured.kept_reports:
        typer.echo("warning: .nsys-rep files hold the environment of the recorded process: do not share them", err=True)
    typer.echo(captured.summary(measured.files, what_was_found(captured.traces_by_batch, measured.evidence)))
    if measured.leak:
        raise typer.Exit(GATE_FAILED)
