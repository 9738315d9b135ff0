"""Which model to run, and how: what the user says, checked, without torch."""

from dataclasses import dataclass
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.model.presets import PRESETS

DTYPES = ("float16", "bfloat16", "float32")
ATTENTIONS = ("sdpa", "eager")
DEFAULT_MODEL = "llama-3-8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model to run, and how.

    Attributes:
        name: A preset's name, a local directory in the transformers layout, or a hub id (`owner/name`).
        dtype: Of weights and activations: `float16`, `bfloat16` or `float32`.
        layers: How many blocks to keep, from the first; None keeps all.
        attention: `sdpa` or `eager`.
        seed: Of a preset's random weights and of random prompts.
    """

    name: str = DEFAULT_MODEL
    dtype: str = "float16"
    layers: int | None = None
    attention: str = "sdpa"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TracediffError(f"unknown dtype {self.dtype}", f"choose one of {', '.join(DTYPES)}")
        if self.attention not in ATTENTIONS:
            raise TracediffError(f"unknown attention {self.attention}", f"choose one of {', '.join(ATTENTIONS)}")
        if self.layers is not None and self.layers < 1:
            raise TracediffError(f"{self.layers} layers are too few", "give --layers 1 or more")
        if not (self.is_preset or self.is_directory or "/" in self.name):
            raise TracediffError(
                f"unknown model {self.name}", f"give a local directory, a hub id (owner/name), or {', '.join(PRESETS)}"
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
    def label(self) -> str:
        """The name as it is shown and stored: of a directory its last part only, since a path names its user."""
        return Path(self.name).resolve().name if self.is_directory else self.name
