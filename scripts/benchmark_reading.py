"""How long and how much memory tracediff's commands take, beside what else is installed here.

    python scripts/benchmark_reading.py                          every part
    python scripts/benchmark_reading.py ordinary sizes           some of them (--help names all)
    python scripts/benchmark_reading.py sizes --kernels 79000 791000 --runs 3 --folder /tmp
    python scripts/benchmark_reading.py ordinary sizes --beside ../other-checkout

Real traces are repeated in time (scripts/scale_trace.py). Every tool does its work as a process of its own, in turns;
the median of the runs counts. A line gives the ratio to tracediff's time, then seconds, CPU seconds (user and system)
and peak memory. `start` says where the CPU time of an ordinary diff goes. `growth` lets a trace grow in one direction
(scripts/grow_trace.py) and gives CPU µs per kernel at three sizes: where a line's numbers are the same, the cost is
linear.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import benchmark_names
from grow_trace import DIRECTIONS, grow
from repeat_torch_trace import repeat_torch_trace
from scale_trace import scale

from tracediff.capture.find_nsys import nsys_candidates, read_version
from tracediff.errors import TracediffError

ROOT = Path(__file__).parent.parent
PAIR = (ROOT / "profiles/llama-3-8b-float16/b1.sqlite", ROOT / "profiles/llama-3-8b-float16/b2.sqlite")
#: Copies that make 260 MB of PyTorch JSON, and those that stand for one copy of the nsys trace.
TORCH_COPIES, TORCH_PER_COPY = 1600, 20
#: The smallest trace has more steps than keep a phase each.
SMALLEST, GROWTH_COPIES = 3, (8, 24, 72)
#: The best of so many runs counts, as what is wanted is a small difference.
GROWTH_RUNS = 2
INGESTED = 200
#: Copies of two decode steps each.
STEP_COPIES = 256
#: nsys takes minutes from here on.
MOST_FOR_NSYS = 1_000_000
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
#: Kernels with their launches and no ranges: less than tracediff does.
PANDAS = """
import sqlite3, sys, pandas
db = sqlite3.connect(sys.argv[1])
read = lambda sql: pandas.read_sql(sql, db)
kernels = read('SELECT start, "end", correlationId, globalPid, demangledName FROM CUPTI_ACTIVITY_KIND_KERNEL')
calls = read("SELECT start launch, correlationId, globalTid FROM CUPTI_ACTIVITY_KIND_RUNTIME")
calls["globalPid"] = calls.globalTid - calls.globalTid % 2**24
kernels["time"] = kernels.end - kernels.start
joined = kernels.merge(calls, on=["globalPid", "correlationId"])
print(joined.groupby(["globalTid", "demangledName"]).time.agg(["count", "sum"]))
"""
#: What an ordinary diff does, each line on top of those before it.
START = (
    ("Python", ""),
    ("typer", "import gc; gc.disable(); import typer"),
    ("numpy", "from tracediff.cli.short_lived import start_quickly; start_quickly()"),
    ("rich", "import rich.console, rich.table"),
    ("msgspec, sqlite3", "import msgspec, sqlite3"),
    (
        "tracediff's modules",
        "from tracediff.cli import app; import tracediff.cli.diff, tracediff.api; from tracediff.diff import evidence; "
        "from tracediff.report.diff import terminal, view; from tracediff.trace import nsys_sqlite",
    ),
    (
        "reading both traces",
        "from pathlib import Path; tables = list(tracediff.api.open_all([Path(each) for each in sys.argv[1:]]))",
    ),
    ("comparing, with evidence", "found = evidence.attach_evidence(tracediff.diff.diff_tables(*tables))"),
    ("printing", "terminal.print_diff(found, rich.console.Console(emoji=False))"),
)
JSON_LOAD = "import json, sys; json.load(open(sys.argv[1]))"
SIMDJSON = "import simdjson, sys; simdjson.Parser().load(sys.argv[1])"


@dataclass
class Tool:
    """One way to do some work, and what its runs took."""

    name: str
    command: list[str]
    stdin: Path | None = None
    checkout: Path | None = None
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    failed: bool = False

    def run(self) -> None:
        """Run once, unless it failed before."""
        if self.failed:
            return
        # As installed: compiled modules are kept, and output is buffered.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        with Path(self.stdin or os.devnull).open() as given:
            began = time.perf_counter()
            process = subprocess.Popen(
                self.command,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=self.checkout,  # `python -m` looks there first
            )
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds.append(time.perf_counter() - began)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
        self.megabytes.append(usage.ru_maxrss / 1024)
        self.failed = process.returncode != 0


def tracediff(*arguments: str | Path, stdin: Path | None = None) -> Tool:
    """Return one of tracediff's commands as a tool."""
    words = [str(each) for each in arguments if not isinstance(each, Path)]
    name = " ".join(["tracediff", *words])
    return Tool(name, [sys.executable, "-m", "tracediff", *map(str, arguments)], stdin)


def beside(tool: Tool, checkout: Path | None) -> list[Tool]:
    """Return a tool of tracediff, and the same of another checkout, if one was named."""
    if checkout is None:
        return [tool]
    return [tool, Tool(f"{tool.name}, {checkout.resolve().name}", tool.command, tool.stdin, checkout.resolve())]


def python(name: str, program: str, *arguments: str | Path) -> Tool:
    """Return a Python program as a tool."""
    return Tool(name, [sys.executable, "-c", program, *map(str, arguments)])


def nsys_stats(nsys: Path, report: str, *traces: Path) -> Tool:
    """Return a report of nsys for some traces, one after the other; it writes into what it reads, so it gets copies."""
    commands = []
    for trace in traces:
        copy = trace.parent / f"nsys-{trace.name}"
        shutil.copyfile(trace, copy)
        commands.append(f"'{nsys}' stats --quiet --format csv --report {report} '{copy}'")
    return Tool(f"nsys stats {report}", ["sh", "-c", " && ".join(commands)])


def compare(work: str, tools: list[Tool], runs: int, count: int = 0, unit: str = "") -> None:
    """Run some tools in turns and print their lines; the first is what the others are compared with.

    Args:
        work: What they do.
        tools: The tools.
        runs: How often each runs, after a first time that does not count.
        count: How many pieces the work has, if a rate is wanted.
        unit: What a piece is called.
    """
    for tool in tools:
        tool.run()  # into the file cache
    for tool in tools:
        tool.seconds, tool.cpu_seconds, tool.megabytes = tool.seconds[1:], tool.cpu_seconds[1:], tool.megabytes[1:]
    for _ in range(runs):
        for tool in tools:
            tool.run()
    base = statistics.median(tools[0].seconds)
    for tool in tools:
        if tool.failed:
            print(f"| {work} | {tool.name} | failed | | | |", flush=True)
            continue
        seconds = statistics.median(tool.seconds)
        cpu, memory = statistics.median(tool.cpu_seconds), max(tool.megabytes)
        name = f"{tool.name} ({count / cpu:,.0f} {unit} per CPU second)" if count else tool.name
        print(f"| {work} | {name} | {seconds / base:.2f} | {seconds:.2f} | {cpu:.2f} | {memory:,.0f} |", flush=True)


def ordinary(arguments: argparse.Namespace, folder: Path, nsys: Path | None) -> None:
    """The pair that a capture makes: 2 × 4 k kernels, and 2 × 8 k."""
    pairs = {"a pair of 4 k kernels": [copy_of(trace, folder) for trace in PAIR]}
    pairs["a pair of 8 k kernels"] = [scaled(trace, folder, 2) for trace in PAIR]
    for work, pair in pairs.items():
        tools = beside(tracediff("diff", *pair), arguments.beside)
        tools += [nsys_stats(nsys, "cuda_gpu_kern_sum:nvtx-name", *pair)] if nsys else []
        compare(work, tools, max(arguments.runs, 5))


def start(arguments: argparse.Namespace, folder: Path, _nsys: Path | None) -> None:
    """Where the CPU time of the ordinary diff goes: programs that do more and more of it."""
    pair = [copy_of(trace, folder) for trace in PAIR]
    tools = [
        python(what, "\n".join(["import sys", *(line for _, line in START[: place + 1])]), *pair)
        for place, (what, _) in enumerate(START)
    ]
    tools.append(tracediff("diff", *pair))
    tools[-1].name = "the rest (parsing the command line, ending)"
    for tool in [each for _ in range(max(arguments.runs, 15)) for each in tools]:
        tool.run()
    print("\n| of an ordinary diff | CPU ms |\n| --- | --- |")
    before = 0.0
    for tool in tools:
        if tool.failed:
            print(f"| {tool.name} | failed |")
            continue
        taken = statistics.median(tool.cpu_seconds[1:])
        print(f"| {tool.name} | {(taken - before) * 1000:.0f} |")
        before = taken
    print(f"| all | {before * 1000:.0f} |\n", flush=True)


def sizes(arguments: argparse.Namespace, folder: Path, nsys: Path | None) -> None:
    """A trace of a long run, alone and against another batch size's."""
    for kernels in arguments.kernels:
        copies = max(1, round(kernels / count_kernels(PAIR[0])))
        with ProcessPoolExecutor(2) as pool:
            pair = list(pool.map(scaled, PAIR, [folder] * 2, [copies] * 2))
        tools = [
            each
            for tool in (tracediff("show", pair[0]), tracediff("diff", *pair))
            for each in beside(tool, arguments.beside)
        ]
        if kernels <= MOST_FOR_NSYS:
            tools.append(python("tracediff show, rows from SQLite", ROW_BY_ROW, "show", pair[0]))
            if importlib.util.find_spec("pandas"):
                tools.append(python("pandas, without ranges", PANDAS, pair[0]))
            if nsys:
                tools.append(nsys_stats(nsys, "cuda_gpu_kern_sum:nvtx-name", pair[0]))
        compare(f"{count_kernels(pair[0]):,} kernels", tools, arguments.runs)
        for path in folder.glob("*.sqlite"):
            path.unlink()


def steps(arguments: argparse.Namespace, folder: Path, _nsys: Path | None) -> None:
    """Decode steps that count up."""
    with ProcessPoolExecutor(2) as pool:
        whole = list(pool.map(scaled, PAIR, [folder] * 2, [STEP_COPIES] * 2))
    pair = [path.with_stem(f"decode-{path.stem}") for path in whole]
    for source, target in zip(whole, pair, strict=True):
        grow(source, target, "decode")
        source.unlink()
    compare(
        f"{2 * STEP_COPIES} decode steps, {count_kernels(pair[0]):,} kernels",
        beside(tracediff("diff", *pair), arguments.beside),
        arguments.runs,
    )


def torch(arguments: argparse.Namespace, folder: Path, _nsys: Path | None) -> None:
    """A trace of PyTorch's profiler."""
    path, _ = repeat_torch_trace(folder, TORCH_COPIES)
    tools = [*beside(tracediff("show", path), arguments.beside), python("json.load", JSON_LOAD, path)]
    if importlib.util.find_spec("simdjson"):
        tools.append(python("simdjson, parsing alone", SIMDJSON, path))
    compare(f"PyTorch JSON, {path.stat().st_size / 1e6:.0f} MB", tools, arguments.runs)
    path.unlink()


def names(arguments: argparse.Namespace, folder: Path, _nsys: Path | None) -> None:
    """A hundred thousand distinct kernel names."""
    path = folder / "names.txt"
    distinct = benchmark_names.distinct_names(100_000)
    path.write_text("".join(f"{' '.join(name.split())}\n" for name in distinct))
    tools = [
        *beside(tracediff("name", "-", stdin=path), arguments.beside),
        tracediff("name", "-", "--format", "json", stdin=path),
    ]
    compare(f"{len(distinct):,} names", tools, arguments.runs, len(distinct), "names")
    print(f"| parse alone | {benchmark_names.measure(distinct, arguments.runs):,.0f} names per CPU second | | | | |")


def ingest(arguments: argparse.Namespace, folder: Path, _nsys: Path | None) -> None:
    """Many traces into one dataset."""
    if not importlib.util.find_spec("distributed"):
        return
    trace, many = scaled(PAIR[0], folder, 2), folder / "many"
    many.mkdir()
    for number in range(INGESTED):
        os.link(trace, many / f"{number}.sqlite")
    command = f"rm -rf '{folder}/fleet' && '{sys.executable}' -m tracediff ingest '{many}' --out '{folder}/fleet'"
    compare(
        f"{INGESTED} traces of {count_kernels(trace):,} kernels",
        beside(Tool("tracediff ingest", ["sh", "-c", command]), arguments.beside),
        arguments.runs,
        INGESTED,
        "traces",
    )


def growth(arguments: argparse.Namespace, folder: Path, _nsys: Path | None) -> None:
    """What `show` and `diff` take per kernel at three sizes, for each direction of growth."""
    print("\nCPU µs per kernel, less what the smallest trace takes\n")
    columns = " | ".join(f"× {copies}" for copies in GROWTH_COPIES)
    print(f"| what grows | command | kernels | {columns} | peak MB |\n| --- | --- | --- {'| --- ' * 4}|")
    for what in ("copies", *DIRECTIONS, "torch"):
        with ProcessPoolExecutor() as pool:
            count = 1 + len(GROWTH_COPIES)
            made = list(pool.map(grown, [what] * count, [folder] * count, (SMALLEST, *GROWTH_COPIES)))
        for command in ("show", "diff", *(["diff --save"] if what in ("copies", "decode") else [])):
            print(growth_line(what, command, made), flush=True)
        for path, _ in made:
            path.unlink()


def growth_line(what: str, command: str, made: list[tuple[Path, int]]) -> str:
    """Return one line of the table of growth."""
    tools = []
    for path, _ in made:
        name, *option = command.split()
        save = [*option, path.with_suffix(".saved.sqlite"), "--force"] if option else []
        tools.append(tracediff(name, path, *([] if name == "show" else [path]), *save))
    for _ in range(GROWTH_RUNS):
        for tool in tools:
            tool.run()
    if any(tool.failed for tool in tools):
        return f"| {what} | {command} | failed | | | | |"
    seconds = [min(tool.cpu_seconds) for tool in tools]
    cells = [
        f"{(taken - seconds[0]) / (kernels - made[0][1]) * 1e6:.2f}"
        for taken, (_, kernels) in zip(seconds[1:], made[1:], strict=True)
    ]
    return f"| {what} | {command} | {made[-1][1]:,} | {' | '.join(cells)} | {max(tools[-1].megabytes):,.0f} |"


def grown(what: str, folder: Path, copies: int) -> tuple[Path, int]:
    """Make a trace that has grown, and say how many kernels it holds."""
    if what == "torch":
        return repeat_torch_trace(folder, copies * TORCH_PER_COPY)
    whole = scaled(PAIR[0], folder, copies + 1)
    path = folder / f"{what}-{copies}.sqlite"
    if what == "copies":
        whole.replace(path)
    else:
        grow(whole, path, what)
        whole.unlink()
    return path, count_kernels(path)


def scaled(trace: Path, folder: Path, copies: int) -> Path:
    """Repeat a trace in time."""
    path = folder / f"{trace.stem}-{copies}.sqlite"
    scale(trace, path, copies, 1, 10**6, True)
    return path


def copy_of(trace: Path, folder: Path) -> Path:
    """Copy a trace, with what was measured beside it."""
    for name in ("manifest.json", "evidence.json", "logits.safetensors"):
        shutil.copyfile(trace.with_name(name), folder / name)
    return Path(shutil.copy(trace, folder))


def any_nsys() -> Path | None:
    """Return an nsys that runs, None where there is none."""
    for path in nsys_candidates():
        try:
            print(f"nsys {read_version(path).version}")
        except TracediffError:
            continue
        return path
    print("nsys: not installed here")
    return None


def count_kernels(trace: Path) -> int:
    """Return the number of kernels in a trace."""
    with closing(sqlite3.connect(f"{trace.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone()[0])


PARTS: dict[str, Callable[[argparse.Namespace, Path, Path | None], None]] = {
    each.__name__: each for each in (ordinary, sizes, steps, torch, names, ingest, start, growth)
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--kernels", type=int, nargs="+", default=[79_000, 791_000, 7_900_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the large traces are made (up to 3 GB)")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another version, whose commands run in turns")
    parser.add_argument("--without-nsys", action="store_true", help="its larger sizes take minutes")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}")
    nsys = None if arguments.without_nsys else any_nsys()
    print("\n| work | tool | × tracediff | seconds | CPU seconds | peak MB |\n| --- | --- | --- | --- | --- | --- |")
    for name in [each for each in PARTS if each in (arguments.parts or PARTS)]:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            PARTS[name](arguments, Path(folder).absolute(), nsys)


if __name__ == "__main__":
    main()
