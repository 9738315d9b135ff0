"""Temporary folders vanish, and those of killed runs are found and removed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tracediff import temporary
from tracediff.temporary import remove_leftovers, temporary_folder


@pytest.fixture
def parent(tmp_path, monkeypatch):
    """The folder for temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_private_and_vanishes(parent):
    with temporary_folder("capture") as folder:
        assert folder.parent == parent
        assert folder.name.startswith("tracediff-capture-")
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "file").write_text("x")
    assert list(parent.iterdir()) == []


def test_it_vanishes_with_what_was_started_in_it_when_the_block_fails(parent):
    started = []
    with pytest.raises(RuntimeError), temporary_folder("capture") as folder:
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder)}
        started.append(subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True))
        raise RuntimeError
    assert started[0].wait(timeout=10) == -signal.SIGKILL
    assert list(parent.iterdir()) == []


def killed_run(parent):
    """Start a run that holds a folder, kill it, and return the process that it started."""
    program = (
        "import subprocess, sys, time\n"
        "from tracediff.temporary import temporary_folder\n"
        "with temporary_folder('capture') as folder:\n"
        "    child = subprocess.Popen(['sleep', '60'], env={'PATH': '/bin:/usr/bin', 'TMPDIR': str(folder)})\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(parent)}
    run = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    child = int(run.stdout.readline())
    return run, child


def test_what_a_killed_run_left_is_removed_with_its_processes(parent):
    run, child = killed_run(parent)
    run.kill()
    run.wait()
    run.stdout.close()
    assert len(list(parent.iterdir())) == 1
    remove_leftovers(parent)
    assert list(parent.iterdir()) == []
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the process of the killed run still runs")


def test_what_a_run_uses_is_left_alone(parent):
    run, _ = killed_run(parent)
    try:
        remove_leftovers(parent)
        assert len(list(parent.iterdir())) == 1
    finally:
        run.kill()
        run.wait()
        run.stdout.close()
        remove_leftovers(parent)


def test_a_folder_without_a_lock_is_removed_only_when_old(parent):
    folder = parent / "tracediff-capture-old"
    folder.mkdir()
    remove_leftovers(parent)
    assert folder.exists()
    long_ago = time.time() - temporary._SECONDS_WITHOUT_LOCK - 60
    os.utime(folder, (long_ago, long_ago))
    remove_leftovers(parent)
    assert not folder.exists()


def test_links_files_and_folders_of_other_programs_stay(parent, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / temporary._LOCK).write_text("")
    (parent / "tracediff-capture-link").symlink_to(elsewhere)
    (parent / "tracediff-capture-file").write_text("")
    (parent / "other-capture-x").mkdir()
    (parent / "other-capture-x" / temporary._LOCK).write_text("")
    remove_leftovers(parent)
    assert len(list(parent.iterdir())) == 3
    assert elsewhere.is_dir()
