"""The launcher without nsys around it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracediff.capture.record import launcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


class Launched:
    """A launcher that runs a Python program."""

    def __init__(self, folder, source, umask=0o022, **environment):
        self._reports = folder / "reports.jsonl"
        self.output = folder / "output"
        with self.output.open("wb") as output:
            job = {
                "command": [sys.executable, "-c", source],
                "environment": environment,
                "umask": umask,
                **{name: output.fileno() for name in ("stdout", "stderr")},
                "stdin": os.open(os.devnull, os.O_RDONLY),
                "reports": str(self._reports),
            }
            (folder / "job.json").write_text(json.dumps(job))
            command = [sys.executable, "-I", launcher.__file__, str(folder / "job.json")]
            self.process = subprocess.Popen(command, pass_fds=[output.fileno(), job["stdin"]])
            os.close(job["stdin"])

    def reports(self):
        return [json.loads(line) for line in self._reports.read_text().splitlines()] if self._reports.exists() else []

    def wait_for(self, text):
        for _ in range(200):
            if text in self.output.read_text(errors="replace"):
                return
            time.sleep(0.05)
        pytest.fail(f"the program did not print {text}")


def alive(process):
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:1]
    return False


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_write_to_the_programs_files_no_more_than_without_nsys(tmp_path, umask):
    source = f"import os; os.open({str(tmp_path / 'made')!r}, os.O_CREAT, 0o666)"
    assert Launched(tmp_path, source, umask=umask).process.wait(30) == 0
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_programs_code_is_reported_and_returned(tmp_path):
    launched = Launched(tmp_path, "raise SystemExit(7)")
    assert launched.process.wait(30) == 7
    assert [report["event"] for report in launched.reports()] == ["started", "ended", "all ended"]
    assert launched.reports()[1]["code"] == 7


def test_a_program_that_a_signal_ended_has_128_and_its_number(tmp_path):
    launched = Launched(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    launched.process.wait(30)
    assert launched.reports()[1]["code"] == 128 + signal.SIGKILL


def test_the_environment_is_changed_as_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/somewhere")
    source = "import os; print(os.environ.get('TMPDIR'), os.environ['ADDED'])"
    launched = Launched(tmp_path, source, TMPDIR=None, ADDED="yes")
    launched.process.wait(30)
    assert launched.output.read_text() == "None yes\n"


def test_a_process_is_known_by_its_name_and_arguments_until_it_has_ended():
    process = subprocess.Popen(["sleep", "600", "1"])
    try:
        while launcher.name_of(process.pid) != "sleep":
            time.sleep(0.01)
        assert launcher.arguments_of(process.pid) == ["sleep", "600", "1"]
    finally:
        process.kill()
        process.wait()
    assert (launcher.name_of(process.pid), launcher.arguments_of(process.pid)) == ("", [])


def test_output_that_is_no_text_passes_through(tmp_path):
    launched = Launched(tmp_path, r"import sys; sys.stdout.buffer.write(bytes(range(256)))")
    launched.process.wait(30)
    assert launched.output.read_bytes() == bytes(range(256))


def test_a_program_that_does_not_start_is_reported(tmp_path):
    job = {"command": [str(tmp_path)], "environment": {}, "umask": 0o022, "stdin": 0, "stdout": 1, "stderr": 2}
    (tmp_path / "job.json").write_text(json.dumps({**job, "reports": str(tmp_path / "reports")}))
    done = subprocess.run([sys.executable, "-I", launcher.__file__, str(tmp_path / "job.json")], check=False)
    assert done.returncode == 127
    assert json.loads((tmp_path / "reports").read_text()) == {"event": "not started", "reason": "Permission denied"}


def test_processes_that_the_program_leaves_are_waited_for(tmp_path):
    source = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1.5)'])"
    launched = Launched(tmp_path, source)
    began = time.monotonic()
    assert launched.process.wait(30) == 0
    assert time.monotonic() - began > 1.4
    assert [report["event"] for report in launched.reports()] == ["started", "ended", "all ended"]


def test_sigint_reaches_the_whole_group_of_the_program(tmp_path):
    source = """
import subprocess, sys, time
child = "import signal as s, time; s.signal(s.SIGINT, lambda *_: exit(5)); print('child', flush=True); time.sleep(60)"
started = subprocess.Popen([sys.executable, "-c", child])
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(started.wait())
"""
    launched = Launched(tmp_path, source)
    launched.wait_for("child")
    launched.process.send_signal(signal.SIGINT)
    assert launched.process.wait(30) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_everything_is_ended_even_what_left_the_group(tmp_path, number):
    ignore = "" if number == signal.SIGTERM else "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    source = f"""
import signal, subprocess, sys, time
{ignore}
child = "import signal, time; {ignore} print('child', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
time.sleep(60)
"""
    launched = Launched(tmp_path, source)
    launched.wait_for("child")
    below = launcher.descendants(launched.process.pid)
    assert len(below) == 2
    launched.process.send_signal(number)
    launched.process.wait(30)
    assert not [process for process in below if alive(process)]
