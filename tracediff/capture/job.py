"""What the parent tells the recorded process, and what it hears back: files in the capture's temporary folder.

The job is one JSON file. Reports are JSON lines that the worker appends, since nsys runs between the two processes.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracediff.model.spec import ModelSpec

Report = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One capture, as the recorded process needs it.

    Attributes:
        spec: The model.
        profiler: `nsys` or `torch`.
        device: `cuda`, or `cpu` (no kernels: ranges for nsys, operators for torch).
        batches: Rows per forward, one recording after the other.
        repeats: How often each forward is recorded.
        prompt: The prompt's text; None makes a random one.
        chat: Whether the text is put into the model's chat template.
        tokens: Length of a random prompt.
        decode: Decode steps after the prefill.
        algorithm_log: Whether chosen algorithms become marks.
        reports: Where the worker appends its reports; torch's traces go beside it.
    """

    spec: ModelSpec
    profiler: str
    device: str
    batches: tuple[int, ...]
    repeats: int
    prompt: str | None
    chat: bool = False
    tokens: int
    decode: int
    algorithm_log: bool
    reports: Path

    def torch_trace(self, batch: int, repeat: int) -> Path:
        """Return where torch's own trace of one recording goes, `repeat` counted from 1."""
        return self.reports.parent / f"b{batch}.repeat{repeat}.json"

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Read a job that `write` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["spec"] = ModelSpec(**fields["spec"])
        fields["batches"] = tuple(fields["batches"])
        fields["reports"] = Path(fields["reports"])
        return cls(**fields)

    def reporter(self) -> Report:
        """Return what the worker calls to report an event, with its values by name."""

        def report(event: str, **values: Any) -> None:
            with self.reports.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"event": event, **values}) + os.linesep)

        return report


class ReportReader:
    """Reads the reports that have come since the last look; half a line is left for the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> Iterator[dict[str, Any]]:
        """Yield each new report."""
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield json.loads(line)
