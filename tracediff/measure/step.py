"""The evidence step of a capture: measured in a process of its own, which no profiler watches.

The recorded process has the profiler in it; that its logits have the same bits as this one's is one of the controls.
The parent writes the job and reads the result as JSON files, and needs no torch.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tracediff.diff.summary import control_findings
from tracediff.measured import FILE_NAME
from tracediff.model.spec import ModelSpec

LOGITS_FILE_NAME = "logits.safetensors"
ACTIVATIONS_FILE_NAME = "activations.safetensors"
FILE_NAMES = (FILE_NAME, LOGITS_FILE_NAME, ACTIVATIONS_FILE_NAME)
"""All that the step may leave; the last only where it was asked for."""
_ERROR_FILE_NAME = "evidence-error.txt"
_LOG_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceJob:
    """What the measuring process is told.

    Attributes:
        spec: The model.
        device: `cuda` or `cpu`.
        batches: Batch sizes.
        prompt_tokens: Token ids of the prompt.
        decode_tokens: The token given in each decode step.
        recorded_hashes: Hashes of the recorded process's logits by `batch/phase`.
        out: Folder that takes the files.
        activations: Whether what the origins made of equal inputs is kept too.
    """

    spec: ModelSpec
    device: str
    batches: tuple[int, ...]
    prompt_tokens: list[int]
    decode_tokens: list[int]
    recorded_hashes: dict[str, str] | None
    out: Path
    activations: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """What the step writes."""
        return tuple(self.out / name for name in (FILE_NAMES if self.activations else FILE_NAMES[:-1]))

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> EvidenceJob:
        """Read a job that `write` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["spec"] = ModelSpec(**fields["spec"])
        fields["batches"] = tuple(fields["batches"])
        fields["out"] = Path(fields["out"])
        return cls(**fields)

    def fail(self, message: str) -> None:
        """Leave one line for the parent."""
        (self.out / _ERROR_FILE_NAME).write_text(message, encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How the step ended.

    Attributes:
        files: What it wrote into the job's folder; empty where it failed.
        findings: What must be said loudly: controls that found other bits, or why nothing was measured.
        leak: Whether rows of a batch leak into each other.
    """

    files: tuple[Path, ...] = ()
    findings: tuple[str, ...] = ()
    leak: bool = False


def run_evidence_step(job: EvidenceJob, environment: dict[str, str]) -> StepResult:
    """Measure evidence in a process of its own; a failure is a finding, since the traces are good without.

    Args:
        job: What to measure; its folder exists.
        environment: Of that process.
    """
    job = dataclasses.replace(job, spec=job.spec.with_absolute_path())
    path = job.out / "evidence-job.json"
    job.write(path)
    done = subprocess.run(
        [sys.executable, "-m", "tracediff.measure.worker", str(path)],
        cwd=job.out,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    written = job.files
    if done.returncode != 0 or not all(file.is_file() for file in written):
        error = job.out / _ERROR_FILE_NAME
        lines = done.stdout.strip().splitlines()
        why = error.read_text(encoding="utf-8") if error.is_file() else (lines[-1] if lines else "it ended early")
        return StepResult(findings=(f"no evidence was measured: {why[:_LOG_CHARACTERS]}",))
    evidence = json.loads(written[0].read_text(encoding="utf-8"))
    controls = evidence["controls"]
    return StepResult(
        files=written,
        findings=(*control_findings(controls), *evidence["notes"]),
        leak=controls["neighbours"]["equal"] is False,
    )
