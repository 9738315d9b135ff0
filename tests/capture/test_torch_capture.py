"""`tracediff capture --profiler torch` from end to end on a CPU: operators under the same ranges as with nsys."""

import getpass
import gzip
import json
import os
import re
import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.capture.interrupted import worker_of_an_interrupted_capture
from tests.capture.tiny_ranges import MODULES, PHASES
from tracediff.capture import run
from tracediff.capture import write as deliver
from tracediff.capture.options import CaptureOptions
from tracediff.cli import app
from tracediff.errors import TracediffError
from tracediff.model.spec import ModelSpec
from tracediff.trace import read_trace

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
if torch.cuda.is_available():
    pytest.skip("this machine has a GPU", allow_module_level=True)

TINY = ModelSpec(name="tiny", dtype="float32", layers=1)
ALLOWED, REFUSED = "planted-allowed-71ab", "planted-refused-71ab"


def options(out, **more):
    return CaptureOptions(
        **{"spec": TINY, "batches": (1,), "decode": 1, "profiler": "torch", "device": "cpu", **more}, out=out
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The result of the command as it is typed, and its folder."""
    out = tmp_path_factory.mktemp("recorded") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_HOME", ALLOWED)
        patch.setenv("MY_TOKEN", REFUSED)
        words = ["--batch", "1", "2", "--model", "tiny", "--dtype", "float32", "--layers", "1", "--decode", "1"]
        result = CliRunner().invoke(app, ["capture", *words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return result, out


def test_it_works_without_a_gpu_and_says_what_takes_the_kernels_place(recorded):
    result, out = recorded
    assert "warning: there is no GPU, so no kernels were recorded: the CPU's operators" in result.stderr
    assert re.search(rf"{out}/b2\.json\.gz  batch 2, \d+ operators, no kernels", result.stdout)
    assert f"tracediff diff {out}/b1.json.gz {out}/b2.json.gz" in result.stdout
    assert {path.name for path in out.iterdir()} == {"b1.json.gz", "b2.json.gz", "manifest.json"}


def test_files_have_the_mode_that_the_umask_allows(recorded):
    _, out = recorded
    umask = os.umask(0)
    os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o666 & ~umask}


def test_every_trace_holds_one_run_with_every_phase_and_module_in_order(recorded):
    _, out = recorded
    for batch in (1, 2):
        events = json.loads(gzip.decompress((out / f"b{batch}.json.gz").read_bytes()))["traceEvents"]
        ranges = [event for event in events if event["cat"] == "user_annotation"]
        texts = [event["name"] for event in sorted(ranges, key=lambda event: event["ts"])]
        assert texts == ["run", *(text for phase in PHASES for text in (phase, *MODULES))]


def test_operators_stand_in_the_phases_and_modules_that_ran_them(recorded):
    _, out = recorded
    table = read_trace(out / "b1.json.gz")
    rows = {
        (table.keys[key].phase, table.keys[key].module, table.names[name])
        for key, name in zip(table.key, table.name, strict=True)
    }
    for phase in PHASES:
        assert (phase, "model.layers.0.mlp.down_proj", "aten::mm") in rows
        assert (phase, "lm_head", "aten::mm") in rows
    assert table.coverage.outside_ranges == 0
    assert any("no GPU kernels" in note for note in table.notes)


def test_the_reader_finds_the_manifest(recorded):
    _, out = recorded
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["profiler"], manifest["algorithm_log"], manifest["gpu"]) == ("torch", "off", None)
    assert manifest["command"].endswith("--profiler torch")
    for batch, entry in zip((1, 2), manifest["traces"], strict=True):
        table = read_trace(out / f"b{batch}.json.gz")
        info = table.info
        assert (info.batch, info.model, info.dtype, info.tokens) == (batch, "tiny", "float32", 6)
        assert (info.profiler, info.profiler_version) == ("torch", torch.__version__)
        assert (entry["kernels"], entry["operators"], entry["repeat_identical"]) == (0, len(table), True)


def test_the_two_batches_compare_and_nothing_is_claimed_of_bits(recorded, tmp_path):
    _, out = recorded
    traces = [str(out / f"b{batch}.json.gz") for batch in (1, 2)]
    result = CliRunner().invoke(app, ["diff", *traces, "--format", "json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {*PHASES} <= {row["phase"] for row in document["rows"]}
    assert {row["verdict"] for row in document["rows"]} == {"unknown"}
    shown = CliRunner().invoke(app, ["diff", *traces, "--html", str(tmp_path / "report.html")])
    assert shown.exit_code == 0, shown.output
    assert "no GPU kernels were recorded" in shown.stdout
    assert "no GPU kernels were recorded" in (tmp_path / "report.html").read_text()
    assert CliRunner().invoke(app, ["show", traces[0]]).exit_code == 0


def test_nothing_planted_is_in_the_bytes(recorded):
    _, out = recorded
    secrets = [ALLOWED, REFUSED, str(Path.home()), str(Path.cwd()), sys.executable, str(out), "tracediff-capture-"]
    for path in out.iterdir():
        written = path.read_bytes()
        told = gzip.decompress(written) if path.suffix == ".gz" else written
        for secret in secrets:
            assert secret.encode() not in written, f"{secret} in {path.name}"
            assert secret.encode() not in told, f"{secret} in {path.name}"
        for name in (socket.gethostname(), getpass.getuser()):
            assert not re.search(rf"\b{re.escape(name)}\b".encode(), told), f"{name} in {path.name}"


def test_repeats_that_differ_are_both_kept_and_said(tmp_path, monkeypatch):
    sequences = iter([[("aten::a", (1,))], [("aten::b", (1,))]])
    monkeypatch.setattr(deliver, "sequence_of", lambda _table: next(sequences))
    captured = run.capture(options(tmp_path / "out"), [].append)
    assert "ran other operators (operator 0: aten::a, then aten::b)" in captured.warnings[1]
    assert captured.manifest.traces[0].repeat_file == "b1.repeat2.json.gz"
    assert (tmp_path / "out" / "b1.repeat2.json.gz").is_file()


def test_what_goes_wrong_in_the_model_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(TracediffError, match="tiny has 2 layers, not 3"):
        run.capture(options(tmp_path / "out", spec=ModelSpec(name="tiny", layers=3)), [].append)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_capture_ends_what_it_started(tmp_path, monkeypatch):
    worker = worker_of_an_interrupted_capture(options(tmp_path / "out"), monkeypatch)
    assert worker.poll() is not None
    assert not (tmp_path / "out").exists()
