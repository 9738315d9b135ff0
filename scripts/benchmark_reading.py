"""How long and how much memory it takes to attribute kernels to ranges, by the size of the trace and by what grows.

    python scripts/benchmark_reading.py [TRACE.sqlite] [--kernels 79000 791000 7900000] [--runs 3] [--folder /tmp]
    python scripts/benchmark_reading.py --growth            microseconds per kernel at three sizes, for each WHAT

A real trace is repeated in time (scripts/scale_trace.py) and each tool that is installed here does the same work on it,
as a process of its own, in turns: kernels, and their time, per range. Prints a Markdown table per size: median of the
runs as a ratio to `tracediff show`, then seconds, CPU seconds (user and system), peak memory, and microseconds per
kernel; and the machine. With --growth the trace also grows in one direction (scripts/grow_trace.py), or is a PyTorch
profiler trace: where a line's numbers are the same, the cost is linear.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from grow_trace import DIRECTIONS, grow
from scale_trace import scale

from tracediff.capture.find_nsys import nsys_candidates, read_version
from tracediff.errors import TracediffError

ROOT = Path(__file__).parent.parent
DEFAULT = ROOT / "profiles" / "llama-3-8b-float16" / "b1.sqlite"
TORCH = ROOT / "tests" / "trace" / "data" / "torch-gpu-modules-b1.json.gz"
#: So many copies of the PyTorch trace stand for one of the nsys trace.
TORCH_COPIES = 20
GROWTH_COPIES = (4, 16, 64)
#: The reader as it is without its page decoder: SQLite hands over every row.
ROW_BY_ROW = """
import sys
from tracediff.trace import sqlite_export
def refuse(*_):
    raise sqlite_export.UnusualPageError
    yield
sqlite_export.SqliteExport._from_pages = refuse
from tracediff.__main__ import main
main()
"""


@dataclass
class Tool:
    """One way to do the work, and what its runs took."""

    name: str
    command: list[str]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    failed: bool = False

    def run(self) -> None:
        """Run once, unless it failed before."""
        if self.failed:
            return
        began = time.perf_counter()
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds.append(time.perf_counter() - began)
        self.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
        self.megabytes.append(usage.ru_maxrss / 1024)
        self.failed = process.returncode != 0


def tools_for(trace: Path, nsys: Path | None) -> list[Tool]:
    """Return what is installed here."""
    python = sys.executable
    tools = [
        Tool("tracediff show", [python, "-m", "tracediff", "show", str(trace)]),
        Tool("tracediff diff (the trace with itself)", [python, "-m", "tracediff", "diff", str(trace), str(trace)]),
        Tool("tracediff show, rows from SQLite", [python, "-c", ROW_BY_ROW, "show", str(trace)]),
    ]
    if nsys is not None:
        # nsys writes tables of its own into the file it reads: it gets a copy.
        copy = trace.with_suffix(".nsys.sqlite")
        shutil.copyfile(trace, copy)
        for report in ("nvtx_kern_sum", "cuda_gpu_kern_sum:nvtx-name"):
            command = [str(nsys), "stats", "--quiet", "--format", "csv", "--report", report, str(copy)]
            tools.append(Tool(f"nsys stats {report}", command))
    return tools


def print_table(tools: list[Tool], kernels: int, size: int) -> None:
    """Print one Markdown table."""
    print(f"\n{kernels:,} kernels, {size / 1e6:,.0f} MB\n")
    print("| tool | × tracediff show | seconds | CPU seconds | peak MB | µs per kernel |")
    print("| --- | --- | --- | --- | --- | --- |")
    base = statistics.median(tools[0].seconds)
    for tool in tools:
        if tool.failed:
            print(f"| {tool.name} | failed | | | | |")
            continue
        seconds = statistics.median(tool.seconds)
        cells = (
            f"{seconds / base:.2f}",
            f"{seconds:.2f}",
            f"{statistics.median(tool.cpu_seconds):.2f}",
            f"{max(tool.megabytes):,.0f}",
            f"{seconds / kernels * 1e6:.2f}",
        )
        print(f"| {tool.name} | {' | '.join(cells)} |")


def print_growth(trace: Path, runs: int, folder: Path | None) -> None:
    """Print what `show` and `diff` take per kernel at three sizes, for each direction of growth."""
    print("\nCPU µs per kernel, less what the smallest trace takes\n")
    sizes = " | ".join(f"× {copies}" for copies in GROWTH_COPIES)
    print(f"| what grows | command | kernels | {sizes} | peak MB |\n| --- | --- | --- {'| --- ' * 4}|")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for what in ("copies", *DIRECTIONS, "torch"):
            made = [grown(trace, Path(name), what, copies) for copies in (1, *GROWTH_COPIES)]
            for command in ("show", "diff"):
                print(growth_line(what, command, made, runs), flush=True)
            for path, _ in made:
                path.unlink()


def growth_line(what: str, command: str, made: list[tuple[Path, int]], runs: int) -> str:
    """Return one line of the table of growth."""
    tools = []
    for path, _ in made:
        arguments = [str(path)] if command == "show" else [str(path), str(path)]
        tool = Tool(what, [sys.executable, "-m", "tracediff", command, *arguments])
        for _ in range(runs):
            tool.run()
        tools.append(tool)
    if any(tool.failed for tool in tools):
        return f"| {what} | {command} | failed | | | | |"
    seconds = [statistics.median(tool.cpu_seconds) for tool in tools]
    cells = [
        f"{(taken - seconds[0]) / (kernels - made[0][1]) * 1e6:.2f}"
        for taken, (_, kernels) in zip(seconds[1:], made[1:], strict=True)
    ]
    return f"| {what} | {command} | {made[-1][1]:,} | {' | '.join(cells)} | {max(tools[-1].megabytes):,.0f} |"


def grown(trace: Path, folder: Path, what: str, copies: int) -> tuple[Path, int]:
    """Make a trace that has grown, and say how many kernels it holds."""
    if what == "torch":
        return repeated_torch_trace(folder, copies)
    path = folder / f"{what}-{copies}.sqlite"
    whole = folder / "whole.sqlite"
    scale(trace, whole, copies + 1, 1, 10**6, True)
    if what == "copies":
        whole.replace(path)
    else:
        grow(whole, path, what)
        whole.unlink()
    return path, count_kernels(path)


def repeated_torch_trace(folder: Path, copies: int) -> tuple[Path, int]:
    """Write a PyTorch profiler trace repeated in time, as many kernels as the nsys trace roughly has."""
    document = json.loads(gzip.decompress(TORCH.read_bytes()))
    events = document.pop("traceEvents")
    path, kernels = folder / f"torch-{copies}.json", 0
    with path.open("w") as file:
        file.write(json.dumps(document)[:-1] + ', "traceEvents": [')
        for copy in range(copies * TORCH_COPIES):
            for event in events:
                moved = {**event, "ts": event["ts"] + copy * 1e5}
                if "correlation" in event.get("args", {}):
                    moved["args"] = {**event["args"], "correlation": event["args"]["correlation"] + copy * 10**6}
                kernels += event.get("cat") == "kernel"
                file.write(json.dumps(moved) + ",\n")
        file.write("{}]}")
    return path, kernels


def any_nsys() -> Path | None:
    """Return an nsys that runs, None where there is none."""
    for path in nsys_candidates():
        try:
            version = read_version(path).version
        except TracediffError:
            continue
        print(f"nsys {version}")
        return path
    print("nsys: not installed here")
    return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--kernels", type=int, nargs="+", default=[79_000, 791_000, 7_900_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the large traces are made (up to 3.2 GB)")
    parser.add_argument("--without-nsys", action="store_true", help="its larger sizes take many minutes")
    parser.add_argument("--growth", action="store_true", help="what grows, instead of sizes")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}")
    if arguments.growth:
        print_growth(arguments.trace, arguments.runs, arguments.folder)
        return
    nsys = None if arguments.without_nsys else any_nsys()
    for kernels in arguments.kernels:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            trace = Path(folder) / "trace.sqlite"
            rows = scale(
                arguments.trace, trace, max(1, round(kernels / count_kernels(arguments.trace))), 1, 10**6, True
            )
            tools = tools_for(trace, nsys)
            for _ in range(arguments.runs):
                for tool in tools:
                    tool.run()
            print_table(tools, rows["rows"]["CUPTI_ACTIVITY_KIND_KERNEL"], trace.stat().st_size)


def count_kernels(trace: Path) -> int:
    """Return the number of kernels in a trace."""
    with closing(sqlite3.connect(f"{trace.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone()[0])


if __name__ == "__main__":
    main()
