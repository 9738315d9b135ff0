"""`manifest.json`, written beside the traces: what was recorded, on what, and how to do it again.

It holds no path, user or host name. Readers find a trace's entry by its file name.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tracediff.errors import TracediffError
from tracediff.json_input import parse_json
from tracediff.text import json_text

FILE_NAME = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEntry:
    """One trace file.

    Attributes:
        file: Its name, in the manifest's own folder.
        batch: Rows per forward.
        kernels: How many kernels it holds.
        operators: How many operators of a CPU it holds in their place.
        repeat_identical: Whether a second recording of the same forward ran the same kernels (names and launch
            configurations, in order), or operators.
        repeat_difference: Where they differ: the first difference in one line; else null.
        repeat_file: Where they differ: the second recording's file; else null.
    """

    file: str
    batch: int
    kernels: int
    operators: int = 0
    repeat_identical: bool
    repeat_difference: str | None = None
    repeat_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one `tracediff capture` recorded.

    Attributes:
        schema: Version of this file's format.
        profiler: `nsys` or `torch`.
        model: Preset, hub id, or the last part of a local directory.
        weights: `random` (presets), `real`, or `real, dequantised from GGUF`.
        dtype: Of weights and activations.
        attention: `sdpa` (torch chooses), a backend of it (`flash`, `efficient`, `cudnn`, `math`), or `eager`.
        layers: Blocks that ran.
        geometry: The model's sizes: hidden_size, intermediate_size, num_attention_heads, num_key_value_heads,
            vocab_size.
        seed: Of random weights and prompt.
        tokens: Tokens per row of the prompt.
        prompt_tokens: Their ids; every row of a batch holds the same. Null where they were not to be stored.
        decode_tokens: The token fed in each decode step, the same at every batch size: batch 1's own choice.
        gpu: The GPU's name; null without one.
        sm_count: Its streaming multiprocessors; null without one.
        algorithm_log: `on`, `off`, or `unavailable` (no cuBLASLt with a logger).
        settings: Environment variables that change which kernels run or how they sum, where set.
        versions: driver, cuda, cublas, torch, transformers, nvtx, nsys, python, tracediff, as far as there are any.
        command: The command line that does it again, but for a prompt that was not to be stored.
        traces: One entry per trace file.
    """

    schema: int = SCHEMA
    profiler: str = "nsys"
    model: str
    weights: str
    dtype: str
    attention: str
    layers: int
    geometry: dict[str, int]
    seed: int
    tokens: int
    prompt_tokens: list[int] | None
    decode_tokens: list[int]
    gpu: str | None
    sm_count: int | None
    algorithm_log: str
    settings: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    traces: list[TraceEntry] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the file's text."""
        return json_text(dataclasses.asdict(self), indent=2) + "\n"


def read_manifest(directory: Path) -> Manifest:
    """Read and check the manifest of a capture's folder.

    Raises:
        TracediffError: It is missing, or a field in it is missing or of another type.
    """
    path = directory / FILE_NAME
    try:
        manifest: Manifest = parse_json(path.read_bytes(), Manifest)
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
    except ValueError as error:
        raise TracediffError(f"{path} is damaged", str(error)) from error
    if manifest.schema != SCHEMA:
        raise TracediffError(f"{path} has schema {manifest.schema}, this version reads {SCHEMA}", "use a newer version")
    return manifest


class _Files(msgspec.Struct, frozen=True):
    file: str
    repeat_file: str | None = None


class _Listing(msgspec.Struct, frozen=True):
    """The part that the manifests of captures and recordings have in common."""

    traces: list[_Files]


def listed_files(directory: Path) -> list[str]:
    """Return the trace files that a folder's manifest lists, none where there is no manifest to read."""
    try:
        listing: _Listing = parse_json((directory / FILE_NAME).read_bytes(), _Listing)
    except (OSError, ValueError):
        return []
    names = [name for entry in listing.traces for name in (entry.file, entry.repeat_file) if name is not None]
    # A name that leads out of the folder is none of ours.
    return [name for name in names if Path(name).name == name]
