"""Started by nsys in the program's place: starts the program, says how it ended, and ends whatever it leaves.

`python -I launcher.py JOB`, JOB being a JSON file:

| key | |
| --- | --- |
| `command` | program and arguments |
| `environment` | variables to set; null removes one |
| `umask` | the program's umask: nsys starts it with none, so that others could write to its files |
| `stdin`, `stdout`, `stderr` | open file descriptors, passed on by nsys |
| `reports` | file to append JSON lines to: `not started`, `started`, `ended`, `all ended` |

nsys prints on its own stdout, and ends with a code that depends on its version; so the program gets the descriptors of
`tracediff record`, and its code is reported. Orphans of the program become this process's children, so that all of it
can be waited for and ended.

| signal | what it does |
| --- | --- |
| SIGINT | is passed on to the program's process group, as a terminal would |
| SIGTERM | ends every process of the program with SIGTERM |
| SIGQUIT | the same with SIGKILL |
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def main(job_path: str) -> int:
    """Run the program to its end and that of everything it started; return its exit code."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def report(event: str, **values: object) -> None:
        with Path(job["reports"]).open("a", encoding="utf-8") as reports:
            reports.write(json.dumps({"event": event, **values}) + "\n")

    changes = job["environment"]
    kept = {name: value for name, value in os.environ.items() if name not in changes}
    environment = {**kept, **{name: value for name, value in changes.items() if value is not None}}
    try:
        program = subprocess.Popen(
            job["command"],
            env=environment,
            stdin=job["stdin"],
            stdout=job["stdout"],
            stderr=job["stderr"],
            process_group=0,
            umask=job["umask"],
        )
    except OSError as error:
        report("not started", reason=error.strerror or str(error))
        return 127
    for number in {job["stdin"], job["stdout"], job["stderr"]}:
        os.close(number)
    signal.signal(signal.SIGINT, lambda *_: _send(signal.SIGINT, [-program.pid]))
    signal.signal(signal.SIGTERM, lambda *_: _send(signal.SIGTERM, descendants(os.getpid())))
    signal.signal(signal.SIGQUIT, lambda *_: _send(signal.SIGKILL, descendants(os.getpid())))
    report("started", process=program.pid, launcher=os.getpid())
    code = 0
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            process, status = os.waitpid(-1, 0)
            if process == program.pid:
                code = os.waitstatus_to_exitcode(status)
                code = 128 - code if code < 0 else code
                report("ended", code=code)
    report("all ended")
    return code


def descendants(ancestor: int) -> list[int]:
    """Return the ids of all living processes that a process started, directly or not, as /proc lists them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # `pid (name) state ppid …`; the name may hold anything.
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.parent.name)] = int(parent)
    found: list[int] = []
    for process in parents:
        above, seen = process, set()
        while above in parents and above not in seen:
            seen.add(above)
            above = parents[above]
            if above == ancestor:
                found.append(process)
                break
    return found


def name_of(process: int) -> str:
    """Return the name of a process's program, empty where it has ended."""
    try:
        return Path(f"/proc/{process}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def arguments_of(process: int) -> list[str]:
    """Return the command line of a process, program first, empty where it has ended."""
    try:
        line = Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return []
    return line.removesuffix("\0").split("\0") if line else []


def _send(number: int, processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            if process < 0:
                os.killpg(-process, number)
            else:
                os.kill(process, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
