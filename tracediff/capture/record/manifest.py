"""`manifest.json` of a recording: what ran, and what each trace file holds.

It holds no path, command line or host name: a command line may hold keys.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracediff.capture.find_nsys import Nsys
from tracediff.capture.manifest import FILE_NAME
from tracediff.capture.record.clean import CleanRecording
from tracediff.capture.record.program import Recorded
from tracediff.files import replaced_when_complete
from tracediff.processes import CHANGES_NUMBERS
from tracediff.text import json_text

SCHEMA = 1
#: Further variables that change which kernels a server runs; named in the manifest where set.
_SERVER_SETTINGS = ("VLLM_BATCH_INVARIANT", "VLLM_ATTENTION_BACKEND", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordManifest:
    """What one `tracediff record` recorded.

    Attributes:
        schema: Version of this file's format.
        profiler: `nsys`.
        program: That a recording is described, and no capture.
        algorithm_log: `on`, `off`, `unavailable` (no cuBLASLt with a logger), or several where processes differ.
        settings: Environment variables that change which kernels run or how they sum, where set.
        versions: Of the profiler and of what the program's processes imported.
        traces: What each file holds; `file` is its name.
    """

    schema: int = SCHEMA
    profiler: str = "nsys"
    program: str = "recorded by tracediff record"
    algorithm_log: str
    settings: Mapping[str, str]
    versions: Mapping[str, str]
    traces: Sequence[Mapping[str, object]]

    def write(self, folder: Path) -> None:
        """Write it into the folder of the traces, in place of an earlier one."""
        with replaced_when_complete(folder / FILE_NAME) as temporary:
            temporary.write_text(json_text(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


def record_manifest(
    nsys: Nsys, recorded: Recorded, traces: Mapping[str, CleanRecording], environment: Mapping[str, str]
) -> RecordManifest:
    """Describe a recording.

    Args:
        nsys: The profiler.
        recorded: What the program's processes reported.
        traces: What each trace file holds, by name.
        environment: The caller's; its variables that change numbers are named.
    """
    versions: dict[str, str] = {}
    for report in recorded.torch:
        versions |= report["versions"]
    return RecordManifest(
        algorithm_log=" ".join(sorted({report["algorithm_log"] for report in recorded.torch})) or "off",
        settings={name: environment[name] for name in (*CHANGES_NUMBERS, *_SERVER_SETTINGS) if name in environment},
        versions={**versions, **({} if nsys.version is None else {"nsys": nsys.version})},
        traces=[{"file": file, **dataclasses.asdict(holds)} for file, holds in traces.items()],
    )
