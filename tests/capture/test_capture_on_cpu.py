"""The whole path with a real nsys and a real model, without a GPU: ranges, no kernels.

That of torch's profiler is in test_torch_capture.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.capture.interrupted import worker_of_an_interrupted_capture
from tests.capture.tiny_ranges import MODULES, PHASES
from tracediff.capture import choose_profiler, run
from tracediff.capture import write as deliver
from tracediff.capture.find_nsys import Nsys, importer_of
from tracediff.capture.options import CaptureOptions
from tracediff.capture.probe import Probe, probe
from tracediff.errors import TracediffError
from tracediff.model.spec import ModelSpec

pytestmark = [pytest.mark.nsys, pytest.mark.torch]
pytest.importorskip("torch")
pytest.importorskip("transformers")

TINY = ModelSpec(name="tiny", dtype="float32", layers=1)
# In a variable that the recorded process gets, in one that it does not, and at a process of somebody else's.
ALLOWED, REFUSED, FOREIGN = "planted-allowed-5d1c", "planted-refused-5d1c", "planted-foreign-5d1c"


def options(nsys, out, **more):
    return CaptureOptions(
        **{"spec": TINY, "batches": (1,), "decode": 1, "device": "cpu", "nsys": nsys.path, **more}, out=out
    )


@pytest.fixture(scope="module")
def recorded(nsys, tmp_path_factory):
    """A capture at batch 1 and 2, with secrets all around it, and the steps it told."""
    folder = tmp_path_factory.mktemp("recorded")
    sleeper = folder / FOREIGN
    shutil.copy(shutil.which("sleep"), sleeper)
    foreign = subprocess.Popen([sleeper, "120"], env={"FOREIGN": FOREIGN})
    steps = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CUDA_HOME", ALLOWED)
            patch.setenv("MY_TOKEN", REFUSED)
            captured = run.capture(options(nsys, folder / "out", batches=(1, 2), keep_reports=True), steps.append)
    finally:
        foreign.kill()
        foreign.wait()
    return captured, steps


def events(trace):
    """Return (text, start, end) of every range, in the order they opened."""
    with contextlib.closing(sqlite3.connect(trace)) as connection:
        return connection.execute(
            "SELECT COALESCE(text, value), start, end FROM NVTX_EVENTS LEFT JOIN StringIds ON id = textId "
            "WHERE eventType = 59 ORDER BY start, end DESC"
        ).fetchall()


def test_there_is_one_trace_per_batch_and_a_manifest(recorded):
    captured, _ = recorded
    names = {path.name for path in captured.folder.iterdir()}
    assert {"b1.sqlite", "b2.sqlite", "manifest.json"} <= names
    assert [path.name for path in captured.traces] == ["b1.sqlite", "b2.sqlite"]
    assert not captured.warnings


def test_every_trace_holds_one_run_with_every_phase_and_module_in_order(recorded):
    captured, _ = recorded
    for trace in captured.traces:
        texts = [text for text, _, _ in events(trace)]
        assert texts == ["run", *(text for phase in PHASES for text in (phase, *MODULES))]


def test_ranges_nest_as_the_calls_do(recorded):
    captured, _ = recorded
    open_until = []
    for text, start, end in events(captured.traces[0]):
        while open_until and open_until[-1][1] <= start:
            open_until.pop()
        assert all(end <= outer for _, outer in open_until)
        parents = [name for name, _ in open_until]
        expected = [name for name in parents if text.startswith(f"{name}.")]
        assert parents[2:] == expected, f"{text} lies in {parents}"
        open_until.append((text, end))


def test_the_manifest_says_what_ran(recorded):
    captured, _ = recorded
    manifest = json.loads((captured.folder / "manifest.json").read_text())
    assert (manifest["model"], manifest["dtype"], manifest["layers"]) == ("tiny", "float32", 1)
    assert (manifest["tokens"], len(manifest["prompt_tokens"]), len(manifest["decode_tokens"])) == (6, 6, 1)
    assert {"torch", "transformers", "nvtx", "nsys", "python", "tracediff"} <= set(manifest["versions"])
    assert [(entry["file"], entry["batch"]) for entry in manifest["traces"]] == [("b1.sqlite", 1), ("b2.sqlite", 2)]
    assert all(entry["repeat_identical"] for entry in manifest["traces"])


def test_the_steps_are_told(recorded):
    _, steps = recorded
    assert steps[:2] == ["trying nsys", "loading tiny in float32"]
    assert steps.index("recording batch 1") < steps.index("recording batch 2") < steps.index("exporting 4 of 4")


def test_nothing_planted_is_in_the_bytes_of_what_is_shared(recorded, nsys, tmp_path):
    captured, _ = recorded
    subprocess.run(
        [nsys.path, "export", "--type=sqlite", f"--output={tmp_path / 'raw.sqlite'}", captured.kept_reports[0]],
        check=True,
        capture_output=True,
    )
    raw = (tmp_path / "raw.sqlite").read_bytes()
    assert ALLOWED.encode() in raw, "nsys itself writes the environment"
    assert FOREIGN.encode() in raw, "nsys itself writes other processes"
    assert REFUSED.encode() not in raw, "the recorded process never had it"
    home, here = str(Path.home()), str(Path.cwd())
    for path in (*captured.traces, captured.folder / "manifest.json"):
        told = path.read_bytes()
        for secret in (ALLOWED, REFUSED, FOREIGN, home, here, sys.executable, "nsys-rep"):
            assert secret.encode() not in told, f"{secret} in {path.name}"


def test_a_capture_says_what_it_wrote_and_what_to_run_next(recorded):
    captured, _ = recorded
    summary = captured.summary()
    assert f"tracediff diff {captured.folder / 'b1.sqlite'} {captured.folder / 'b2.sqlite'}" in summary
    assert str(captured.folder / "manifest.json") in summary


def test_repeats_that_differ_are_both_kept_and_said(nsys, tmp_path, monkeypatch):
    sequences = iter([[("a", (1,))], [("b", (1,))]])
    monkeypatch.setattr(deliver, "kernel_sequence", lambda _trace: next(sequences))
    captured = run.capture(options(nsys, tmp_path / "out"), [].append)
    assert "ran other kernels (kernel 0: a, then b)" in captured.warnings[0]
    entry = captured.manifest.traces[0]
    assert (entry.repeat_identical, entry.repeat_file) == (False, "b1.repeat2.sqlite")
    assert (tmp_path / "out" / "b1.repeat2.sqlite").is_file()


def test_what_goes_wrong_in_the_model_is_one_line_and_leaves_nothing(nsys, tmp_path):
    spec = ModelSpec(name="tiny", layers=3)
    with pytest.raises(TracediffError, match="tiny has 2 layers, not 3"):
        run.capture(options(nsys, tmp_path / "out", spec=spec), [].append)
    assert not (tmp_path / "out").exists()


def test_a_recording_that_cannot_be_imported_is_kept_and_named(nsys, tmp_path, monkeypatch):
    broken = without_importer(nsys, tmp_path / "nsys")
    pretend = Probe(nsys=broken, records=True, imports=True, sees_ranges=True)
    monkeypatch.setattr(choose_profiler, "choose_nsys", lambda *_arguments: pretend)
    with pytest.raises(TracediffError, match=r"no QdstrmImporter .*capture\.1\.qdstrm") as raised:
        run.capture(options(nsys, tmp_path / "out"), [].append)
    assert "do not share" in str(raised.value)
    kept = tmp_path / "out" / "capture.1.qdstrm"
    assert kept.stat().st_size > 0
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_worker_that_dies_is_one_line(nsys, tmp_path, monkeypatch):
    working = Probe(nsys=nsys, records=True, imports=True, sees_ranges=True)
    monkeypatch.setattr(choose_profiler, "choose_nsys", lambda *_arguments: working)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(TracediffError, match="ended early"):
        run.capture(options(nsys, tmp_path / "out"), [].append)


def test_an_interrupted_capture_ends_what_it_started(nsys, tmp_path, monkeypatch):
    working = Probe(nsys=nsys, records=True, imports=True, sees_ranges=True)
    monkeypatch.setattr(choose_profiler, "choose_nsys", lambda *_: working)
    worker = worker_of_an_interrupted_capture(options(nsys, tmp_path / "out"), monkeypatch)
    assert worker.poll() is not None
    session = f"tracediff-{os.getpid()}".encode()
    for _ in range(100):
        if not any(session in command for command in commands_of_all_processes()):
            break
        time.sleep(0.2)  # nsys's agent takes a moment
    assert not any(session in command for command in commands_of_all_processes())
    assert not (tmp_path / "out").exists()


def test_an_nsys_without_importer_is_told_before_the_model_is_loaded(nsys, tmp_path):
    told = probe(without_importer(nsys, tmp_path), dict(os.environ))
    assert (told.records, told.imports, told.works) == (True, False, False)
    assert "no QdstrmImporter" in told.problem


def test_an_nsys_with_an_importer_that_lacks_a_library_names_it(nsys, tmp_path, monkeypatch):
    broken = without_importer(nsys, tmp_path)
    importer = tmp_path / "host-linux-x64" / "QdstrmImporter"
    importer.parent.mkdir()
    importer.write_text("#!/bin/sh\necho error while loading shared libraries >&2\nexit 127\n")
    importer.chmod(0o755)
    ldd = tmp_path / "bin" / "ldd"
    ldd.parent.mkdir()
    ldd.write_text("#!/bin/sh\necho '\tlibdw.so.1 => not found'\n")
    ldd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ldd.parent}{os.pathsep}{os.environ['PATH']}")
    told = probe(broken, dict(os.environ))
    assert (told.records, told.imports) == (True, False)
    assert "libdw.so.1 not found" in told.problem
    assert "apt install libdw1" in told.hint


def test_a_recording_that_the_importer_rejects_once_is_no_failure(nsys, tmp_path):
    flaky, real = without_importer(nsys, tmp_path), importer_of(nsys.path)
    importer = tmp_path / "host-linux-x64" / "QdstrmImporter"
    importer.parent.mkdir()
    importer.write_text(f'#!/bin/sh\nif mkdir "{tmp_path}/rejected"; then exit 3; fi\nexec "{real}" "$@"\n')
    importer.chmod(0o755)
    assert probe(flaky, dict(os.environ)).works
    assert (tmp_path / "rejected").is_dir()


def commands_of_all_processes():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def without_importer(nsys, folder):
    """Return the same nsys in a folder that has nothing beside it."""
    source = nsys.path.resolve().parent
    target = folder / "target-linux-x64"
    target.mkdir(parents=True)
    for entry in source.iterdir():
        (target / entry.name).symlink_to(entry)
    program = target / nsys.path.name
    program.unlink()
    shutil.copy(nsys.path.resolve(), program)
    return Nsys(path=program, version=nsys.version)
