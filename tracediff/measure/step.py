"""Measure a capture's evidence in a process of its own, which no profiler watches.

The recorded process has the profiler in it; that its logits have the same bits as this one's is one of the controls.
The parent writes the job as a JSON file, reads the evidence as everyone else does, and needs no torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from tracediff.files import copy_file, sha256_of
from tracediff.measure.blame import with_kernels
from tracediff.measured import (
    ACTIVATIONS_FILE,
    CAPTURED_FLIPS_FILE,
    EVIDENCE_FILE,
    LOGITS_FILE,
    Evidence,
    encode_evidence,
    read_evidence,
)
from tracediff.model.spec import ModelSpec
from tracediff.processes import run_program, small_environment
from tracediff.temporary import temporary_folder

_ERROR_FILE = "error.txt"
_MESSAGE_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceJob:
    """What to measure, and where to write it.

    Attributes:
        spec: The model.
        device: `cuda` or `cpu`.
        batches: Batch sizes.
        prompt_tokens: Token ids of the prompt.
        decode_tokens: The token given in each decode step.
        recorded_hashes: Hashes of the recorded process's logits, one per recording, by `batch/phase`; None where there
            are none.
        out: Folder that takes the files.
        activations: Whether what the origins made of equal inputs is kept too.
        traces: The trace of each batch size: the evidence names their hashes, and the kernels of modules that vary.
    """

    spec: ModelSpec
    device: str
    batches: tuple[int, ...]
    prompt_tokens: tuple[int, ...]
    decode_tokens: tuple[int, ...]
    recorded_hashes: Mapping[str, Sequence[str]] | None
    out: Path
    activations: bool = False
    traces: Mapping[int, Path] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        fields = dataclasses.asdict(self)
        del fields["traces"]  # the parent reads them
        path.write_text(json.dumps(fields, default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> EvidenceJob:
        """Read a job that `write` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["spec"] = ModelSpec(**fields["spec"])
        fields["out"] = Path(fields["out"])
        for name in ("batches", "prompt_tokens", "decode_tokens"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    def fail(self, message: str) -> None:
        """Leave one line for the parent."""
        (self.out / _ERROR_FILE).write_text(message, encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How the step ended.

    Attributes:
        files: What was written into the job's folder; empty where nothing was measured.
        findings: What could not be measured, one line each.
        evidence: What was measured; None where nothing was.
    """

    files: tuple[Path, ...] = ()
    findings: tuple[str, ...] = ()
    evidence: Evidence | None = None

    @property
    def leak(self) -> bool:
        """Whether rows of a batch leak into each other."""
        return self.evidence is not None and self.evidence.controls["neighbours"].equal is False


def measure_evidence(job: EvidenceJob) -> StepResult:
    """Measure in a process of its own and write the files into the job's folder.

    A failure is no error: the traces are good without evidence.

    Raises:
        TracediffError: The folder cannot be written to.
    """
    names = (EVIDENCE_FILE, LOGITS_FILE, *((ACTIVATIONS_FILE,) if job.activations else ()))
    with temporary_folder("evidence") as temporary:
        inside = dataclasses.replace(job, spec=job.spec.with_absolute_path(), out=temporary)
        path = temporary / "job.json"
        inside.write(path)
        done = run_program(
            [sys.executable, "-m", "tracediff.measure.worker", path],
            folder=temporary,
            environment=small_environment(os.environ, temporary),
        )
        if done.code != 0 or not all((temporary / name).is_file() for name in names):
            return StepResult(findings=(f"no evidence was measured: {_why(temporary, done.output)}",))
        evidence = replace(
            with_kernels(read_evidence(temporary / EVIDENCE_FILE), job.traces),
            weights=job.spec.weights,
            traces={batch: sha256_of(trace) for batch, trace in job.traces.items()},
        )
        (temporary / EVIDENCE_FILE).write_text(encode_evidence(evidence), encoding="utf-8")
        if (temporary / CAPTURED_FLIPS_FILE).is_file():  # a token flipped
            names = (*names, CAPTURED_FLIPS_FILE)
        for name in names:
            copy_file(temporary / name, job.out / name)
    return StepResult(
        files=tuple(job.out / name for name in names),
        findings=evidence.notes,
        evidence=evidence,
    )


def _why(temporary: Path, output: str) -> str:
    error = temporary / _ERROR_FILE
    if error.is_file():
        return error.read_text(encoding="utf-8")[:_MESSAGE_CHARACTERS]
    lines = output.strip().splitlines()
    return lines[-1][:_MESSAGE_CHARACTERS] if lines else "the process ended early"
