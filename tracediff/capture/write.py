"""What a capture leaves behind: one clean trace per batch size, and the manifest that says what they are."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracediff.capture.folder import remove_earlier
from tracediff.capture.manifest import FILE_NAME, Manifest, TraceEntry
from tracediff.capture.options import TORCH, CaptureOptions
from tracediff.capture.repeats import Launch, first_difference, kernel_sequence, sequence_of
from tracediff.capture.scrub import Scrubbed
from tracediff.errors import TracediffError
from tracediff.files import copy_file, replaced_when_complete
from tracediff.processes import CHANGES_NUMBERS
from tracediff.trace import read_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What a capture wrote, and what it ran.

    Attributes:
        folder: Where.
        manifest: What is in it.
        kept_reports: nsys's own reports, where they were asked for.
        warnings: What the user should know, one line each.
        device: What the model ran on: `cuda` or `cpu`.
        prompt_tokens: Token ids of the prompt; the manifest may leave them out.
        logits_hashes: Hashes of the logits under the profiler, one per recording, by `batch/phase`.
    """

    folder: Path
    manifest: Manifest
    kept_reports: tuple[Path, ...]
    warnings: tuple[str, ...]
    device: str
    prompt_tokens: tuple[int, ...]
    logits_hashes: Mapping[str, Sequence[str]]

    @property
    def traces(self) -> list[Path]:
        """The trace files, one per batch size."""
        return [self.folder / entry.file for entry in self.manifest.traces]

    @property
    def traces_by_batch(self) -> dict[int, Path]:
        """The trace file of each batch size."""
        return {entry.batch: self.folder / entry.file for entry in self.manifest.traces}

    def summary(self, more_files: Sequence[Path] = (), found: Sequence[str] = ()) -> str:
        """Return what was written, what was found, and the command to run next.

        Args:
            more_files: Files that were written into the folder after the capture.
            found: What came out of measuring, one line each.
        """
        lines = [
            f"{path}  batch {entry.batch}, "
            + (f"{entry.operators} operators, no kernels" if entry.operators else f"{entry.kernels} kernels")
            for path, entry in zip(self.traces, self.manifest.traces, strict=True)
        ]
        lines += [str(path) for path in (self.folder / FILE_NAME, *more_files, *self.kept_reports)]
        first, *others = (shlex.quote(str(path)) for path in self.traces)
        following = [f"tracediff diff {first} {other}" for other in others] or [f"tracediff show {first}"]
        return "\n".join([*lines, *found, "next:", *(f"  {line}" for line in following)])


def deliver(
    options: CaptureOptions,
    facts: Mapping[str, Any],
    repeats: Mapping[int, list[tuple[Path, Scrubbed]]],
    profiler_versions: Mapping[str, str],
    environment: Mapping[str, str],
) -> Captured:
    """Write traces and manifest into the folder of the capture.

    Args:
        options: What was asked for.
        facts: What the worker reported of the model and the machine.
        repeats: Of each batch size the two recordings of the same forward, as clean exports.
        profiler_versions: The profiler's, by name, where the worker does not know it.
        environment: The caller's; its variables that change numbers go into the manifest.

    Raises:
        TracediffError: A recording on a GPU holds no kernels, or the folder cannot be written to.
    """
    on_torch = options.profiler == TORCH
    if options.device.startswith("cuda") and not all(counts.kernels for pair in repeats.values() for _, counts in pair):
        raise TracediffError(
            ("torch's profiler" if on_torch else "nsys") + " recorded no kernels",
            "is another profiler, or a monitor that profiles (DCGM), using the GPU?",
        )
    remove_earlier(options.folder)
    entries = [_write_traces(options, batch, pair) for batch, pair in repeats.items()]
    warnings = [
        f"batch {entry.batch}: the same forward, recorded twice, ran other {_noun(options, entry.kernels)}s "
        f"({entry.repeat_difference}); the second recording is {entry.repeat_file}"
        for entry in entries
        if entry.repeat_file is not None
    ]
    if facts["algorithm_log"] == "unavailable" and options.device.startswith("cuda"):
        warnings.append("no cuBLASLt with a logger is loaded: the traces hold no algorithm marks")
    manifest = _manifest(options, facts, entries, profiler_versions, environment)
    with replaced_when_complete(options.folder / FILE_NAME) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")
    return Captured(
        folder=options.folder,
        manifest=manifest,
        kept_reports=(),
        warnings=tuple(warnings),
        device=options.device,
        prompt_tokens=tuple(facts["prompt_tokens"]),
        logits_hashes=facts["logits_hashes"],
    )


def _write_traces(options: CaptureOptions, batch: int, pair: Sequence[tuple[Path, Scrubbed]]) -> TraceEntry:
    """Copy a batch size's first recording into the folder, and its second one where that ran something else."""
    on_torch = options.profiler == TORCH
    suffix = ".json.gz" if on_torch else ".sqlite"
    (first, counts), (second, _) = pair
    sequences = [_sequence(path, on_torch) for path in (first, second)]
    noun = _noun(options, counts.kernels)
    difference = first_difference(sequences[0], sequences[1], noun)
    entry = TraceEntry(
        file=f"b{batch}{suffix}",
        batch=batch,
        kernels=counts.kernels,
        operators=len(sequences[0]) if noun == "operator" else 0,
        repeat_identical=difference is None,
        repeat_difference=difference,
        repeat_file=None if difference is None else f"b{batch}.repeat2{suffix}",
    )
    copy_file(first, options.folder / entry.file)
    if entry.repeat_file is not None:
        copy_file(second, options.folder / entry.repeat_file)
    return entry


def _noun(options: CaptureOptions, kernels: int) -> str:
    return "operator" if options.profiler == TORCH and not kernels else "kernel"


def _sequence(trace: Path, on_torch: bool) -> list[Launch]:
    return sequence_of(read_trace(trace)) if on_torch else kernel_sequence(trace)


def _manifest(
    options: CaptureOptions,
    facts: Mapping[str, Any],
    entries: list[TraceEntry],
    profiler_versions: Mapping[str, str],
    environment: Mapping[str, str],
) -> Manifest:
    return Manifest(
        profiler=options.profiler,
        model=options.spec.label,
        weights=options.spec.weights,
        dtype=options.spec.dtype,
        attention=options.spec.attention,
        layers=facts["layers"],
        geometry=facts["geometry"],
        seed=options.spec.seed,
        tokens=len(facts["prompt_tokens"]),
        prompt_tokens=facts["prompt_tokens"] if options.store_prompt else None,
        decode_tokens=facts["decode_tokens"],
        gpu=facts["gpu"],
        sm_count=facts["sm_count"],
        algorithm_log=facts["algorithm_log"],
        settings={name: environment[name] for name in CHANGES_NUMBERS if name in environment},
        versions={**facts["versions"], **profiler_versions},
        command=options.command,
        traces=entries,
    )
