"""Which model to run, and how: what the user says, checked, without torch."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from tracediff.dtypes import dtype_named
from tracediff.errors import TracediffError
from tracediff.model.attention import ATTENTIONS, DEFAULT_ATTENTION
from tracediff.model.presets import PRESETS

DTYPES = ("float16", "bfloat16", "float32")
DEFAULT_MODEL = "llama-3-8b"
_GGUF_SUFFIX = ".gguf"
_FOLDER_NAMES_THAT_SAY_NOTHING = {"hf", "model", "models", "checkpoint", "snapshot", "weights", "export", "output"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model to run, and how.

    Attributes:
        name: A preset's name, a local directory in the transformers layout, a GGUF file, or a hub id (`owner/name`).
        dtype: Of weights and activations: `float16`, `bfloat16` or `float32`; short names (`bf16`) are written out.
        layers: How many blocks to keep, from the first; None keeps all.
        attention: One of `tracediff.model.attention.ATTENTIONS`.
        seed: Of a preset's random weights and of random prompts.
    """

    name: str = DEFAULT_MODEL
    dtype: str = "float16"
    layers: int | None = None
    attention: str = DEFAULT_ATTENTION
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", dtype_named(self.dtype, DTYPES))
        if self.attention not in ATTENTIONS:
            raise TracediffError(f"unknown attention {self.attention}", f"choose one of {', '.join(ATTENTIONS)}")
        if self.layers is not None and self.layers < 1:
            raise TracediffError(f"{self.layers} layers are too few", "give --layers 1 or more")
        if self.name.endswith(_GGUF_SUFFIX) and not self.is_gguf:
            raise TracediffError(f"there is no file {self.name}", "give the path of a GGUF file")
        if not (self.is_preset or self.is_local or "/" in self.name):
            raise TracediffError(
                f"unknown model {self.name}",
                f"give a local directory, a GGUF file, a hub id (owner/name), or {', '.join(PRESETS)}",
            )

    @property
    def is_preset(self) -> bool:
        """Whether the weights are random."""
        return self.name in PRESETS

    @property
    def is_directory(self) -> bool:
        """Whether the weights come from a local directory."""
        return not self.is_preset and Path(self.name).is_dir()

    @property
    def is_gguf(self) -> bool:
        """Whether the weights come from a GGUF file, whose quantised tensors are dequantised when loaded."""
        return self.name.endswith(_GGUF_SUFFIX) and Path(self.name).is_file()

    @property
    def is_local(self) -> bool:
        """Whether the weights lie on this machine, so that `name` is a path."""
        return self.is_directory or self.is_gguf

    @property
    def weights(self) -> str:
        """Where the weights come from, as stored with results: `random`, `real`, or `real, dequantised from GGUF`."""
        if self.is_preset:
            return "random"
        return "real, dequantised from GGUF" if self.is_gguf else "real"

    @property
    def label(self) -> str:
        """The name as it is shown and stored: of local weights the model's own name, since a path names its user."""
        if self.is_gguf:
            return Path(self.name).stem
        return _name_of(Path(self.name).resolve()) if self.is_directory else self.name

    def with_absolute_path(self) -> "ModelSpec":
        """Return the spec as a process in another folder needs it."""
        return replace(self, name=str(Path(self.name).resolve())) if self.is_local else self


def _name_of(directory: Path) -> str:
    """Return the name of the model in a directory: as its config states it, as the hub's cache does, or the folder's.

    A folder whose name says nothing (`hf`, `checkpoint`) is described by the model's architecture and size.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        config = {}
    config = config if isinstance(config, dict) else {}
    stated = config.get("_name_or_path")
    if isinstance(stated, str) and Path(stated).name.strip():
        return Path(stated).name
    if directory.parent.name == "snapshots" and directory.parent.parent.name.startswith("models--"):
        return directory.parent.parent.name.removeprefix("models--").replace("--", "/")
    if directory.name.lower() not in _FOLDER_NAMES_THAT_SAY_NOTHING:
        return directory.name
    kind, layers, width = (config.get(key) for key in ("model_type", "num_hidden_layers", "hidden_size"))
    return f"{kind}-{layers}x{width}" if isinstance(kind, str) else directory.name
