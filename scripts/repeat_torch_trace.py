"""Repeat a PyTorch profiler trace in time, as if the profiled program had run longer.

python scripts/repeat_torch_trace.py FOLDER COPIES      writes FOLDER/torch-COPIES.json
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "tests" / "trace" / "data" / "torch-gpu-modules-b1.json.gz"


def repeat_torch_trace(folder: Path, copies: int) -> tuple[Path, int]:
    """Write the trace and return where it is, and how many kernels it holds."""
    document = json.loads(gzip.decompress(SOURCE.read_bytes()))
    events = document.pop("traceEvents")
    path, kernels = folder / f"torch-{copies}.json", 0
    with path.open("w") as file:
        file.write(json.dumps(document)[:-1] + ', "traceEvents": [')
        for copy in range(copies):
            for event in events:
                moved = {**event, "ts": event["ts"] + copy * 1e5}
                if "correlation" in event.get("args", {}):
                    moved["args"] = {**event["args"], "correlation": event["args"]["correlation"] + copy * 10**6}
                kernels += event.get("cat") == "kernel"
                file.write(json.dumps(moved) + ",\n")
        file.write("{}]}")
    return path, kernels


if __name__ == "__main__":
    print(*repeat_torch_trace(Path(sys.argv[1]), int(sys.argv[2])))
