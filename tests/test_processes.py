"""Programs are run with a small environment and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tracediff
from tracediff import processes
from tracediff.processes import kill_users_of, run_program, small_environment


def test_only_listed_variables_reach_the_recorded_process(tmp_path):
    environment = {"PATH": "/bin", "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "CUBLAS_WORKSPACE_CONFIG": ":0:0"}
    small = small_environment(environment, tmp_path)
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY"} & set(small)
    assert (small["PATH"], small["CUBLAS_WORKSPACE_CONFIG"], small["TMPDIR"]) == ("/bin", ":0:0", str(tmp_path))


def test_the_worker_finds_the_same_packages_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entries = small_environment({"PYTHONPATH": f"here{os.pathsep}/there"}, tmp_path)["PYTHONPATH"].split(os.pathsep)
    assert entries[:2] == [str(tmp_path / "here"), "/there"]
    assert Path(tracediff.__file__).parent.parent.resolve() == Path(entries[2])


def test_output_and_errors_come_together_or_apart():
    program = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"]
    together, apart = run_program(program), run_program(program, separate_errors=True)
    assert (together.code, sorted(together.output.split())) == (3, ["err", "out"])
    assert (apart.output, apart.errors) == ("out\n", "err\n")


def test_a_program_reads_its_text_and_otherwise_nothing():
    echo = [sys.executable, "-c", "import sys; print(sys.stdin.read())"]
    assert run_program(echo, text="hello").output.strip() == "hello"
    assert run_program(echo).output.strip() == ""


def test_a_program_that_runs_too_long_is_killed_with_all_that_it_started(tmp_path):
    done = run_program(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"], seconds=1)
    assert done.code is None
    assert not is_running(int((tmp_path / "child").read_text()))


def test_an_interrupt_kills_the_program_with_all_that_it_started(tmp_path):
    child = tmp_path / "child"

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(KeyboardInterrupt):
            run_program(["sh", "-c", f"sleep 60 & echo $! > {child}; wait"])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not is_running(int(child.read_text()))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_process_is_found_by_its_temporary_folder_even_in_a_session_of_its_own(tmp_path):
    inside, outside = (
        subprocess.Popen(
            ["sleep", "60"], env={"PATH": os.environ["PATH"], "TMPDIR": str(folder)}, start_new_session=True
        )
        for folder in (tmp_path / "a", tmp_path / "ab")
    )
    try:
        kill_users_of(tmp_path / "a")
        assert inside.wait(timeout=10) == -signal.SIGKILL
        assert outside.poll() is None
    finally:
        inside.kill(), outside.kill()
        inside.wait(), outside.wait()


def test_a_process_that_is_being_started_is_looked_at_again(tmp_path, monkeypatch):
    """While exec replaces a program, its environment reads as empty; a zombie's does too, and it has no program."""
    starting, zombie = tmp_path / "proc" / "4000001", tmp_path / "proc" / "4000002"
    for entry in (starting, zombie):
        entry.mkdir(parents=True)
        (entry / "environ").write_bytes(b"")
    (starting / "exe").symlink_to("/bin/sleep")
    killed = []
    monkeypatch.setattr(processes, "_PROCESSES", tmp_path / "proc")
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    monkeypatch.setattr(
        time, "sleep", lambda _: (starting / "environ").write_bytes(f"A=1\0TMPDIR={tmp_path}\0".encode())
    )
    kill_users_of(tmp_path)
    assert killed == [(4000001, signal.SIGKILL)]


def is_running(pid):
    """Whether a process runs; one that was killed may take a moment to go, and stays as a zombie until reaped."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except FileNotFoundError:
            return False
        time.sleep(0.05)
    return True
