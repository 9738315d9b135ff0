"""Processes that hold the model, one per environment, and what they are asked.

Some remedies need the environment set before a process starts. `tracediff.measure.remedies_worker` says what a process
answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tracediff.errors import TracediffError
from tracediff.findings.remedies_catalog import setting_named
from tracediff.model.spec import ModelSpec

Item = TypeVar("Item")
Result = TypeVar("Result")

Environment = tuple[tuple[str, str], ...]
_SECONDS_TO_END = 5


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A running process.

    Attributes:
        process: Orders go to its stdin, answers come from its stdout.
        machine: What it runs on, known once the model is loaded.
    """

    process: subprocess.Popen[str]
    machine: dict[str, str | None] = field(default_factory=dict)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send one order and wait for its answer.

        Raises:
            TracediffError: The process refused, or ended.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise TracediffError("a measuring process ended early", "see its output above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TracediffError(answer["error"])
        return answer

    def load(self, spec: ModelSpec, device: str) -> None:
        """Load the model.

        Raises:
            TracediffError: It cannot be loaded.
        """
        if spec.is_directory:
            spec = replace(spec, name=str(Path(spec.name).resolve()))
        self.machine = self.ask({"load": asdict(spec), "device": device})["machine"]

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self.process.poll() is not None


@contextmanager
def worker_process(environment: Environment = ()) -> Iterator[WorkerProcess]:
    """Run a process for the block; one that is still busy afterwards is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracediff.measure.remedies_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **dict(environment)},
        text=True,
    )
    try:
        yield WorkerProcess(process)
    finally:
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(slots=True)
class Workers:
    """One process per environment, started when it is first needed.

    Attributes:
        spec, device: What each loads, and where.
        stack: Ends the processes.
        progress: Called with what is running.
    """

    spec: ModelSpec
    device: str
    stack: ExitStack
    progress: Callable[[str], None]
    running: dict[Environment, WorkerProcess] = field(default_factory=dict)

    def of(self, settings: Sequence[str]) -> dict[WorkerProcess, list[str]]:
        """Return the processes for some settings, with the settings of each; those that are missing load at once."""
        by_environment: dict[Environment, list[str]] = {}
        for setting in settings:
            by_environment.setdefault(self._environment(setting), []).append(setting)
        started = []
        for environment in by_environment:
            if environment not in self.running:
                variables = "".join(f", {name}={value}" for name, value in environment)
                self.progress(f"loading {self.spec.label}{variables}")
                self.running[environment] = self.stack.enter_context(worker_process(environment))
                started.append(self.running[environment])
        at_once(lambda worker: worker.load(self.spec, self.device), started)
        return {self.running[environment]: names for environment, names in by_environment.items()}

    def _environment(self, setting: str) -> Environment:
        # On the CPU no variable of a GPU library means anything.
        return tuple(sorted(setting_named(setting).environment.items())) if self.device != "cpu" else ()


def at_once(call: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call with every item, each in a thread of its own, and return what they return, in order."""
    if not items:
        return []
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(call, items))
