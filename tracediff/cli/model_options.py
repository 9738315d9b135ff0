"""Options of the commands that run a model themselves, and what they run where the user does not say."""

from typing import Annotated

import typer

ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Preset, local directory, GGUF file or hub id; default llama-3-8b, on the CPU tiny."),
]
FirstLayers = Annotated[int | None, typer.Option("--layers", help="Keep only this many blocks, from the first.")]
AttentionName = Annotated[
    str,
    typer.Option(
        "--attention",
        help="How attention is computed: sdpa (torch chooses a backend), one of torch's backends by name (flash, "
        "efficient, cudnn, math), or eager (written-out products).",
    ),
]
TorchDevice = Annotated[str | None, typer.Option("--device", help="cuda or cpu; default cuda where there is one.")]


def model_and_device(model: str | None, device: str | None) -> tuple[str, str]:
    """Return what to run and where: what the user says, else the default model on a GPU, else `tiny` on the CPU.

    Raises:
        TracediffError: The device has to be looked for and torch is not installed.
    """
    from tracediff.cli.progress import default_device
    from tracediff.model.spec import DEFAULT_MODEL

    device = device or default_device()
    return model or ("tiny" if device == "cpu" else DEFAULT_MODEL), device
