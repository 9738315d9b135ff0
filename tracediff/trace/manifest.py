"""`manifest.json` beside a trace, as tracediff's captures write it: the parts that reading a trace uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from tracediff.json_input import parse_json

MANIFEST = "manifest.json"
#: Larger files are no manifest of ours.
_LIMIT_BYTES = 16 << 20

_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class Entry(msgspec.Struct, frozen=True):
    """One trace of a capture."""

    file: str
    batch: _Count | None = None


class RecordedManifest(msgspec.Struct, frozen=True):
    """What was recorded. What it does not say is None.

    Attributes:
        gpu: Name of the GPU.
        sm_count: Its streaming multiprocessors.
        dtype: Element type of the model's weights.
        model: Preset, directory or hub id.
        tokens: Prompt tokens per row.
        attention: How attention was computed (`sdpa`, `flash`, …).
        weights: `random`, `real`, ….
        layers: Blocks that ran.
        seed: Of random weights and prompt.
        prompt_tokens: Token ids of the prompt, where they were stored.
        versions: Versions of driver, CUDA, cuBLAS, ….
        traces: One entry per trace file.
    """

    gpu: str | None = None
    sm_count: _Count | None = None
    dtype: str | None = None
    model: str | None = None
    tokens: _Count | None = None
    attention: str | None = None
    weights: str | None = None
    layers: _Count | None = None
    seed: int | None = None
    prompt_tokens: tuple[int, ...] | None = None
    versions: dict[str, str] = {}
    traces: list[Entry] = []

    def entry(self, file: str) -> Entry | None:
        """Return the entry of a trace file."""
        return next((each for each in self.traces if each.file == file), None)


def read_manifest(trace: Path) -> tuple[RecordedManifest | None, dict[str, Any], str | None]:
    """Read the manifest beside a trace.

    Returns:
        The manifest, this trace's entry in it as written, and why the manifest cannot be used. Without a usable
        manifest the first is None and the second empty; the last is None if nothing is wrong.
    """
    path = trace.absolute().parent / MANIFEST
    try:
        if not path.is_file():
            return None, {}, None
        if path.stat().st_size > _LIMIT_BYTES:
            return None, {}, "it is too large"
        content = path.read_bytes()
    except OSError as error:
        return None, {}, error.strerror or str(error)
    try:
        manifest: RecordedManifest = parse_json(content, RecordedManifest)
        raw = parse_json(content)
    except ValueError as error:
        return None, {}, str(error)
    entries = zip(raw.get("traces", []), manifest.traces, strict=True)
    return manifest, next((whole for whole, entry in entries if entry.file == trace.name), {}), None
