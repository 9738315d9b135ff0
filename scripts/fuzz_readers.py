"""Read damaged and crafted inputs by the thousand: a result that renders, or one line of error; never anything else.

    python scripts/fuzz_readers.py [--seconds 60] [--jobs 2] [--kinds json …] [--seed 0] [--counts FILE] [--keep DIR]
    python scripts/fuzz_readers.py --table FILE…      # adds up counts, as the table of docs/traces.md

Every kind of file that tracediff reads has its inputs (`fuzz_kinds.py`): traces, what stands beside them, results, what
people paste. What is accepted is rendered in one of its formats, and the output must be valid and harmless there.
`pages` holds the reader of SQLite's pages against sqlite3, table by table: the same values, or refused.

Workers run as processes of their own, one kind after the other; a worker's seed makes the same inputs again
(`--worker KIND --seed N --inputs M`). Counts are written as they come, and inputs that failed are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fuzz_kinds import KINDS, Kind
from fuzz_outputs import OutputError
from fuzz_traces import DifferError, render_all

from tracediff.errors import TracediffError

HERE = Path(__file__).parent
#: How many inputs a worker reads of a kind whose share is 1.
INPUTS_PER_SHARE = 1000
#: Of the worker's own time on a core: on a busy machine an input takes longer by the clock.
HANG_SECONDS = 10
#: A worker that says nothing while it computes for so long, or that computes nothing for so long, hangs where no signal
#: reaches it.
SILENT_SECONDS = 60
#: Reading a damaged input may take as much memory again as reading sound ones took.
MEMORY_TIMES = 2
LONGEST_ERROR = 1000
COLUMNS = ("inputs", "clean", "refused", "tracebacks", "outputs", "hangs", "memory", "differ", "crashes")
HEADINGS = {
    "outputs": "outputs not sound",
    "memory": "> 2 × memory",
    "differ": "values that differ",
}


class HangError(BaseException):
    """An input took longer than `HANG_SECONDS`; no `except Exception` of the code under test stops it."""


def work(name: str, seed: int, inputs: int, keep: Path) -> None:
    """Fuzz one kind, and print its counts as JSON every half second."""
    kind, chance, counts = KINDS[name], random.Random(seed), Counter[str]()
    warnings.simplefilter("error")
    said = 0.0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        allowed = _memory_of_sound_inputs(kind, Path(folder), random.Random(-seed - 1)) * MEMORY_TIMES
        for number in range(inputs):
            path = kind.make(Path(folder), chance)
            column, why = outcome(kind, path, chance)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if peak > allowed:
                allowed = peak * MEMORY_TIMES
                counts["memory"] += 1
                why = why or f"peak memory {peak >> 10} MB"
            counts["inputs"] += 1
            counts[column] += 1
            if why:
                _keep(Path(folder), keep / f"{name}-{seed}-{number}", f"{column} of {path.name}\n{why}")
            if time.monotonic() - said > 0.5:
                said = time.monotonic()
                print(json.dumps(counts), flush=True)
    print(json.dumps(counts), flush=True)


def _hang(*_: object) -> None:
    raise HangError


def _memory_of_sound_inputs(kind: Kind, folder: Path, chance: random.Random) -> int:
    """Read inputs of which most are sound or nearly so, render a sound table; return the memory that took."""
    render_all(folder)
    for _ in range(40):
        outcome(kind, kind.make(folder, chance), chance)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def outcome(kind: Kind, path: Path, chance: random.Random) -> tuple[str, str | None]:
    """Read one input; return the column it counts in, and what is wrong if something is."""
    signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    try:
        kind.check(path, chance)
        return "clean", None
    except TracediffError as error:
        text = str(error)
        sound = "\n" not in text and len(text) < LONGEST_ERROR
        return ("refused", None) if sound else ("outputs", f"an error of {len(text)} characters: {text[:3000]}")
    except HangError:
        return "hangs", traceback.format_exc()
    except DifferError as error:
        return "differ", str(error)
    except OutputError as error:
        return "outputs", str(error)
    except Exception:
        return "tracebacks", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _keep(folder: Path, target: Path, why: str) -> None:
    """Keep an input that failed, and why."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    (target / "why.txt").write_text(why, encoding="utf-8", errors="backslashreplace")
    print(f"{target}: {why.strip().splitlines()[-1][:200]}", file=sys.stderr)


# -- many workers -----------------------------------------------------------------------------------------------------


class Run:
    """Workers side by side, one of each kind in turn, and the counts of all of them."""

    def __init__(self, kinds: list[str], seed: int, keep: Path, file: Path | None) -> None:
        self._keep, self._file, self._seed = keep, file, seed
        self._planned = dict.fromkeys(kinds, 0)
        self._lock = threading.Lock()
        self.workers: dict[tuple[str, int], dict[str, int]] = {}

    def until(self, ends: float, jobs: int) -> None:
        """Keep so many workers running until a moment of the monotonic clock."""
        threads = [threading.Thread(target=self._work_until, args=(ends,)) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            self.write()
        self.write()

    def _work_until(self, ends: float) -> None:
        while time.monotonic() < ends - 2:
            with self._lock:
                kind = min(self._planned, key=self._planned.__getitem__)
                seed = self._seed + self._planned[kind]
                self._planned[kind] += 1
            self._one(kind, seed, ends)

    def _one(self, kind: str, seed: int, ends: float) -> None:
        inputs = round(INPUTS_PER_SHARE * KINDS[kind].share)
        command = [sys.executable, __file__, "--worker", kind, "--seed", str(seed), "--inputs", str(inputs)]
        command += ["--keep", str(self._keep)]
        counts = self.workers[kind, seed] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            watch = _Watch(process, ends)
            for line in process.stdout or ():
                watch.heard()
                counts.update(json.loads(line))
        if watch.silent:
            counts["hangs"] = counts.get("hangs", 0) + 1
        elif process.returncode != 0 and not watch.stopped:
            counts["crashes"] = counts.get("crashes", 0) + 1

    def write(self) -> None:
        """Write all counts so far."""
        if self._file is None:
            return
        workers = [{"kind": kind, "seed": seed, **counts} for (kind, seed), counts in list(self.workers.items())]
        temporary = self._file.with_name(f"{self._file.name}.new")
        temporary.write_text(json.dumps({**about(), "workers": workers}, indent=0) + "\n")
        temporary.replace(self._file)


class _Watch:
    """Kills a worker when the time is over, or when it neither says nor does anything any more."""

    def __init__(self, process: subprocess.Popen[str], ends: float) -> None:
        self._process, self._ends = process, ends
        self._heard = self._computed = 0.0
        self._moved = time.monotonic()
        self.stopped = self.silent = False
        threading.Thread(target=self._watch, daemon=True).start()

    def heard(self) -> None:
        """Note that the worker said something."""
        self._heard, self._moved = self._computed, time.monotonic()

    def _watch(self) -> None:
        while self._process.poll() is None:
            now, computed = time.monotonic(), _core_seconds(self._process.pid)
            if computed > self._computed:
                self._computed, self._moved = computed, now
            self.stopped = now > self._ends
            self.silent = max(self._computed - self._heard, now - self._moved) > SILENT_SECONDS
            if self.stopped or self.silent:
                self._process.kill()
                return
            time.sleep(0.2)


def _core_seconds(process: int) -> float:
    """Return how long a process has computed; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def about() -> dict[str, Any]:
    """Return what the counts are of: the code, and what it runs with."""
    sources = sorted([*(HERE.parent / "tracediff").rglob("*.py"), *HERE.glob("fuzz_*.py")])
    code = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    names = [name for name in ("numpy", "msgspec", "pyarrow") if importlib.util.find_spec(name)]
    versions = {name: version(name) for name in names}
    versions |= {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    return {"code": code, "versions": versions, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}


def table(files: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of all counts.

    Raises:
        SystemExit: They are not of one state of the code.
    """
    codes = {file["code"] for file in files}
    if len(codes) > 1:
        raise SystemExit(f"counts of several states of the code: {', '.join(sorted(codes))}")
    sums: dict[str, Counter[str]] = {name: Counter() for name in KINDS}
    for worker in (worker for file in files for worker in file["workers"]):
        sums[worker["kind"]].update({name: worker.get(name, 0) for name in COLUMNS})
    sums = {name: counts for name, counts in sums.items() if counts["inputs"]}
    sums["all"] = sum(sums.values(), Counter())
    yield f"| kind | {' | '.join(HEADINGS.get(name, name) for name in COLUMNS)} |"
    yield f"| --- {'| --- ' * len(COLUMNS)}|"
    for name, counts in sums.items():
        yield f"| {name} | {' | '.join(f'{counts[column]:,}' for column in COLUMNS)} |"


@contextmanager
def _one_core_each() -> Iterator[None]:
    """Keep numpy's libraries from starting a thread per core in every worker."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS")
    os.environ.update(dict.fromkeys(names, "1"))
    yield


def main() -> None:
    """Parse the command line, fuzz, and print the table."""
    possible = [name for name, kind in KINDS.items() if not kind.needs or importlib.util.find_spec(kind.needs)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", default=possible, choices=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--counts", type=Path, help="write counts to this file as they come")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_readers")
    parser.add_argument("--table", type=Path, nargs="+", help="print the table of these counts instead")
    parser.add_argument("--worker", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=int, default=INPUTS_PER_SHARE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.seed, arguments.inputs, arguments.keep)
        return
    if arguments.table:
        print("\n".join(table([json.loads(path.read_text()) for path in arguments.table])))
        return
    run = Run(arguments.kinds, arguments.seed, arguments.keep, arguments.counts)
    with _one_core_each(), contextlib.suppress(KeyboardInterrupt):
        run.until(time.monotonic() + arguments.seconds, arguments.jobs)
    workers = [{"kind": kind, "seed": seed, **counts} for (kind, seed), counts in run.workers.items()]
    print("\n".join(table([{**about(), "workers": workers}])))


if __name__ == "__main__":
    main()
