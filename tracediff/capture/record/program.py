"""The recorded program under nsys: started, listened to, and ended with everything it started.

The program has the terminal: its input and output are those of `tracediff record`, and its environment is the caller's
but for three variables, none of them kept in a trace: PYTHONPATH (the start-up hook comes first), TRACEDIFF_RECORD (the
hook's settings), and for nsys alone TMPDIR.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tracediff.capture.find_nsys import Nsys
from tracediff.capture.job import ReportReader
from tracediff.capture.record import launcher
from tracediff.capture.record.options import RecordOptions
from tracediff.capture.record.own_nsys import starts_own_nsys
from tracediff.capture.record.part_of_run import PartOfRun
from tracediff.capture.record.stop_nsys import SECONDS_WITHOUT_GROWTH, StopNsys
from tracediff.capture.worker_process import Progress
from tracediff.errors import TracediffError
from tracediff.processes import kill_session
from tracediff.text import printable

#: The variable that holds the hook's settings; `startup/sitecustomize.py`, which must not import this, names it too.
SETTINGS = "TRACEDIFF_RECORD"
STARTUP_FOLDER = Path(__file__).resolve().parent / "startup"

_SECONDS_BETWEEN_LOOKS = 0.1
# How long after its start, and how often, a program is looked at for an nsys of its own. All of /proc is read for that.
_SECONDS_TO_START_NSYS, _SECONDS_BETWEEN_LOOKS_FOR_NSYS = 30.0, 0.5
# How long the program gets to end by itself after an interrupt, and after SIGTERM.
_SECONDS_TO_END = (20.0, 10.0)
# Helpers of multiprocessing end a moment after the program does.
_SECONDS_TO_FOLLOW = 3.0


@dataclass(slots=True, kw_only=True)
class Recorded:
    """How the program ended, and what its processes reported.

    Attributes:
        code: Its exit code; 128 and the signal's number where a signal ended it.
        interrupted: Whether tracediff was asked to end it.
        torch: What each process said that imported torch.
        starts_nsys: Whether the program started an nsys of its own that records.
        cuda: The processes in which torch initialised CUDA, and whether each was forked rather than started anew.
        failures: Why ranges could not be opened in a process, one line each.
        stopped: Whether nsys stopped recording before the program was told to end.
        switches: Moments in ns since 1970 when SIGUSR1 came: recording on, off, on, …
        log: What nsys printed.
    """

    code: int = 0
    interrupted: bool = False
    stopped: bool = False
    torch: list[dict[str, Any]] = field(default_factory=list)
    starts_nsys: bool = False
    cuda: dict[int, bool] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)
    log: str = ""


# Options of nsys that a recording sets, each with its short name; the user's own value takes their place.
_TRACED = (
    ("--trace=cuda,nvtx", "-t"),
    ("--cuda-graph-trace=node", None),
    ("--sample=none", "-s"),
    ("--cpuctxsw=none", None),
    # Without it the forked workers of a server, which never call exec, are not recorded.
    ("--trace-fork-before-exec=true", None),
)


def nsys_command(nsys: Path, output: Path, session: str, options: tuple[str, ...], program: list[str]) -> list[str]:
    """Return the nsys command that records all of a program, and what it starts, into `output.nsys-rep`.

    Args:
        nsys: The profiler.
        output: Where to, without suffix.
        session: A name for the recording.
        options: The user's further options.
        program: What to record.
    """
    given = {option.split("=")[0] for option in options}
    traced = [option for option, short in _TRACED if not {option.split("=")[0], short} & given]
    own = [f"--session-new={session}", f"--output={output}", "--force-overwrite=true"]
    return [str(nsys), "profile", *own, *traced, *options, *program]


def surroundings(options: RecordOptions, environment: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """Return the environment of nsys and the program: the caller's, with the start-up hook in it.

    Args:
        options: What was asked for.
        environment: The caller's (`os.environ`).
        temporary: The folder for nsys's recordings and the processes' reports.
    """
    package = Path(__file__).resolve().parents[3]
    nvtx = find_spec("nvtx")
    settings = {
        "package": str(package),
        "nvtx": None if nvtx is None or nvtx.origin is None else str(Path(nvtx.origin).parent.parent),
        "reports": str(_reports(temporary)),
        "files": str(temporary),
        "part": str(_part(temporary)),
        "ranges": options.ranges,
        "algorithm_log": options.algorithm_log,
        "kept_from": 0 if options.steps is None else options.steps.first,
    }
    path = [str(STARTUP_FOLDER), *filter(None, [environment.get("PYTHONPATH")])]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(path),
        SETTINGS: json.dumps(settings),
        "TMPDIR": str(temporary),
    }


def run_recorded(
    options: RecordOptions, nsys: Nsys, temporary: Path, environment: Mapping[str, str], progress: Progress
) -> Recorded:
    """Run the program under nsys to its end; SIGINT and SIGTERM end it, and what was recorded until then is kept.

    Args:
        options: What to record.
        nsys: The profiler.
        temporary: An empty folder; the report goes to `record*.nsys-rep` in it.
        environment: The caller's (`os.environ`).
        progress: Called with a line for people.

    Raises:
        TracediffError: The program cannot be started.
    """
    session = f"tracediff-record-{os.getpid()}"
    log = temporary / "nsys.log"
    _part(temporary).write_bytes(bytes(1))
    part = PartOfRun(str(_part(temporary)))
    surrounding = surroundings(options, environment, temporary)
    stop = StopNsys([str(nsys.path), "stop", f"--session={session}"], surrounding, temporary)
    with _passed_on((0, 1, 2)) as numbers, _signals(part) as caught, log.open("wb") as output:
        start = _launcher_command(options, temporary, environment, numbers)
        process = subprocess.Popen(
            nsys_command(nsys.path, temporary / "record", session, options.nsys_options, start),
            env=surrounding,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=numbers,
            start_new_session=True,
        )
        listener = _Listener(caught, progress, stop)
        _listen(process, listener, ReportReader(_reports(temporary)), stop, progress)
    recorded = listener.recorded
    recorded.stopped = stop.has_succeeded
    recorded.switches = caught.switches
    recorded.log = log.read_text(encoding="utf-8", errors="replace")
    if not listener.program_ended:
        said = next((line.strip() for line in recorded.log.splitlines() if line.strip()), "it says nothing")
        raise TracediffError("nsys did not record the program", printable(said))
    return recorded


def _launcher_command(
    options: RecordOptions, temporary: Path, environment: Mapping[str, str], numbers: tuple[int, ...]
) -> list[str]:
    """Write the launcher's job, and return the command that does it."""
    job = {
        "command": list(options.command),
        "environment": {"TMPDIR": environment.get("TMPDIR")},
        "umask": _umask(),
        **dict(zip(("stdin", "stdout", "stderr"), numbers, strict=True)),
        "reports": str(_reports(temporary)),
    }
    path = temporary / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return [sys.executable, "-I", str(Path(launcher.__file__).resolve()), str(path)]


def _listen(
    process: subprocess.Popen[bytes], listener: "_Listener", reader: ReportReader, stop: StopNsys, progress: Progress
) -> None:
    """Take what is reported, and pass signals on, until nsys has ended; kill everything where that fails."""
    try:
        while process.poll() is None or not stop.has_ended():
            listener.take(reader.news())
            listener.look_for_nsys()
            listener.tell_of_processes_left()
            listener.end_if_asked()
            if stop.hangs():
                progress(f"nsys stop wrote nothing for {SECONDS_WITHOUT_GROWTH:.0f} s and was killed")
                stop.kill()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        listener.take(reader.news())
    except BaseException:
        listener.kill()
        kill_session(process)
        stop.kill()
        raise


class _Caught:
    """Signals that came while the program ran."""

    def __init__(self, part: PartOfRun) -> None:
        self.ending: list[int] = []
        self.switches: list[int] = []
        self._part = part

    def end(self, number: int, _frame: object) -> None:
        """Take SIGINT or SIGTERM."""
        self.ending.append(number)

    def switch(self, _number: int, _frame: object) -> None:
        """Take SIGUSR1."""
        self.switches.append(time.time_ns())
        self._part.begin()


@contextmanager
def _signals(part: PartOfRun) -> Iterator[_Caught]:
    caught = _Caught(part)
    ending = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        ending.append(signal.SIGHUP)
    before = {number: signal.signal(number, caught.end) for number in ending}
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, caught.switch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _passed_on(numbers: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield copies of file descriptors, for a program that is started by another; a closed one reads as /dev/null."""
    copies: list[int] = []
    try:
        for number in numbers:
            try:
                copies.append(os.dup(number))
            except OSError:
                copies.append(os.open(os.devnull, os.O_RDWR))
        yield tuple(copies)
    finally:
        for copy in copies:
            os.close(copy)


class _Listener:
    """Takes what the launcher and the program's processes report, and ends the program when asked to."""

    def __init__(self, caught: _Caught, progress: Progress, stop: StopNsys) -> None:
        self.recorded = Recorded()
        self.program_ended = False
        self._all_ended = False
        self._caught = caught
        self._stop = stop
        self._progress = progress
        self._launcher: int | None = None
        self._started_at = self._looked_at = 0.0
        self._ended_at: float | None = None
        self._asked_at: float | None = None
        self._sent = 0
        self._answered = 0  # how many of the user's signals need nothing more
        self._next_at = 0.0

    def take(self, news: Iterable[dict[str, Any]]) -> None:
        """Take new reports.

        Raises:
            TracediffError: The program could not be started.
        """
        for report in news:
            match report["event"]:
                case "not started":
                    raise TracediffError(f"the program cannot be started: {report['reason']}", "check COMMAND")
                case "started":
                    self._launcher, self._started_at = report["launcher"], time.monotonic()
                case "ended":
                    self.program_ended, self.recorded.code = True, report["code"]
                    self._ended_at = time.monotonic()
                case "all ended":
                    self._launcher, self._all_ended = None, True
                    # They asked for an end, and it has come. Only what is asked from here on gives the recording up.
                    self._answered = len(self._caught.ending)
                    self._progress("collecting what nsys recorded")
                case "torch":
                    self.recorded.torch.append(report)
                case "cuda":
                    self.recorded.cuda[report["process"]] = report["forked"]
                case "failed":
                    self.recorded.failures.append(report["message"])

    def look_for_nsys(self) -> None:
        """See whether the program starts an nsys of its own; it would do so soon, if at all."""
        now = time.monotonic()
        if self._launcher is None or now > self._started_at + _SECONDS_TO_START_NSYS or self.recorded.starts_nsys:
            return
        if now > self._looked_at + _SECONDS_BETWEEN_LOOKS_FOR_NSYS:
            self._looked_at = now
            self.recorded.starts_nsys = starts_own_nsys(self._launcher)

    def tell_of_processes_left(self) -> None:
        """Say once that the program ended and left processes that go on."""
        if self._ended_at is None or time.monotonic() < self._ended_at + _SECONDS_TO_FOLLOW:
            return
        self._ended_at = None
        left = [] if self._launcher is None else launcher.descendants(self._launcher)
        if left:
            self._progress(
                f"the program ended, {len(left)} of its processes did not: recording until they do, or Ctrl-C"
            )

    def end_if_asked(self) -> None:
        """Send the signal that is due: the user's own, then SIGTERM, then SIGKILL, or SIGKILL at a further signal.

        Signals that come together, or before the program started, count as one. A further one while nsys stops ends
        the wait for nsys, not the time that the program gets to end by itself.

        Raises:
            KeyboardInterrupt: The program has ended, and the user does not want to wait for nsys either; or nsys does
                not start the program.
        """
        asked, now = len(self._caught.ending), time.monotonic()
        if asked == 0:
            return
        self._asked_at = now if self._asked_at is None else self._asked_at
        if self._launcher is None:
            waited_for_start = not self._all_ended and now > self._asked_at + _SECONDS_TO_END[0]
            if waited_for_start or (self._all_ended and asked > self._answered):
                raise KeyboardInterrupt
            return
        first = signal.Signals(self._caught.ending[0])
        if not self.recorded.interrupted:
            self.recorded.interrupted, self._answered = True, asked
            self._progress(f"ending the program ({first.name}); what it recorded is kept")
        further = asked > self._answered
        if not self._sent:
            if self._stop.has_stopped() or further:
                self._send(signal.SIGINT if first == signal.SIGINT else signal.SIGTERM, now + _SECONDS_TO_END[0])
                self._answered = asked
        elif further:
            self._send(signal.SIGQUIT, now + _SECONDS_TO_END[1])
            self._answered = asked
        elif now > self._next_at:
            self._send(signal.SIGTERM if self._sent == 1 else signal.SIGQUIT, now + _SECONDS_TO_END[1])

    def kill(self) -> None:
        """Kill the program and everything it started."""
        if self._launcher is not None:
            for process in launcher.descendants(self._launcher):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def _send(self, number: signal.Signals, next_at: float) -> None:
        self._sent += 1
        self._next_at = next_at
        if self._launcher is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._launcher, number)


def _umask() -> int:
    """Return this process's umask, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _reports(temporary: Path) -> Path:
    return temporary / "reports.jsonl"


def _part(temporary: Path) -> Path:
    return temporary / "part"
