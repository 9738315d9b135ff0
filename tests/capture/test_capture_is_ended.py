"""A capture that is ended by a signal leaves nothing: no process, no temporary folder, no half-written output."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]


def start(folder, *words):
    """Start a capture of the tiny model with its temporary folders in `folder`."""
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tracediff", "capture", "--model", "tiny", "--batch", "1", "2", *words]
    return subprocess.Popen(
        [*command, "--out", str(folder / "out")],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(step, process):
    for line in process.stderr:
        if line.startswith(step):
            return
    pytest.fail(f"the capture ended before {step}")


def processes_in(folder):
    """Return the commands of processes whose temporary files go into `folder`, but for the capture itself."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={folder}/tracediff-".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes())
    return found


def assert_nothing_is_left(folder):
    for _ in range(100):
        if not processes_in(folder / "tmp"):
            break
        time.sleep(0.1)  # what was killed takes a moment to go
    assert processes_in(folder / "tmp") == []
    assert list((folder / "tmp").iterdir()) == []
    assert not (folder / "out").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_signal_while_torch_records_leaves_nothing(tmp_path, number, code):
    process = start(tmp_path, "--profiler", "torch")
    wait_for("loading", process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert_nothing_is_left(tmp_path)


@pytest.mark.nsys
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", ["trying nsys", "loading"])
def test_a_signal_while_nsys_records_leaves_nothing(nsys, tmp_path, number, code, step):
    # Without a GPU only the library may record with nsys; the signals are the command's.
    program = (
        "import sys; from pathlib import Path\n"
        "from tracediff import __main__\n"
        "from tracediff.capture import options, choose_profiler\n"
        "from tracediff.cli import app\n"
        "import dataclasses\n"
        "from tracediff.capture import run\n"
        "run.with_device = lambda options: dataclasses.replace(options, device='cpu')\n"
        "__main__.main()\n"
    )
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", program, "capture", "--model", "tiny", "--batch", "1", "2"]
    process = subprocess.Popen(
        [*command, "--profiler", "nsys", "--nsys", str(nsys.path), "--out", str(tmp_path / "out")],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(step, process)
    time.sleep(0.5)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert_nothing_is_left(tmp_path)


def test_what_a_killed_capture_left_is_removed_by_the_next(tmp_path):
    process = start(tmp_path, "--profiler", "torch")
    wait_for("loading", process)
    process.kill()
    process.communicate(timeout=60)
    assert [path.name.rpartition("-")[0] for path in (tmp_path / "tmp").iterdir()] == ["tracediff-capture"]
    from tracediff.temporary import remove_leftovers

    remove_leftovers(tmp_path / "tmp")
    for _ in range(100):
        if not processes_in(tmp_path / "tmp"):
            break
        time.sleep(0.1)
    assert processes_in(tmp_path / "tmp") == []
    assert list((tmp_path / "tmp").iterdir()) == []
