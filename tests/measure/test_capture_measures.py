"""A capture measures evidence after recording, and says loudly what it finds."""

import pytest
from typer.testing import CliRunner

from tracediff.capture import run
from tracediff.capture.manifest import Manifest, TraceEntry
from tracediff.capture.options import CaptureOptions
from tracediff.capture.write import Captured
from tracediff.cli import app
from tracediff.errors import TracediffError
from tracediff.measure.step import StepResult
from tracediff.model.spec import ModelSpec

MANIFEST = Manifest(
    model="tiny",
    weights="random",
    dtype="float16",
    attention="sdpa",
    layers=1,
    geometry={},
    seed=0,
    tokens=2,
    prompt_tokens=[1, 2],
    decode_tokens=[3],
    gpu=None,
    sm_count=None,
    algorithm_log="off",
    traces=[TraceEntry(file="b1.sqlite", batch=1, kernels=1, repeat_identical=True)],
)


def options(folder, **more):
    return CaptureOptions(spec=ModelSpec(name="tiny"), batches=(1, 2), out=folder, **more)


def captured(folder, **more):
    return Captured(folder=folder, manifest=MANIFEST, kept_reports=(), warnings=("before",), **more)


@pytest.mark.parametrize(
    ("device", "asked", "measures"),
    [("cuda", None, True), ("cpu", None, False), ("cuda", False, False), ("cpu", True, True)],
)
def test_evidence_is_measured_on_a_gpu_unless_said_otherwise(tmp_path, device, asked, measures):
    assert options(tmp_path, device=device, evidence=asked).measures_evidence is measures


def test_activations_need_evidence_and_ask_for_it(tmp_path):
    assert options(tmp_path, device="cpu", activations=True).measures_evidence
    with pytest.raises(TracediffError, match="exclude each other"):
        options(tmp_path, activations=True, evidence=False)


def test_what_was_measured_is_placed_beside_the_traces(tmp_path, monkeypatch):
    folder, temporary = tmp_path / "out", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    jobs = []

    def step(job, environment):
        jobs.append(job)
        (job.out / "evidence.json").write_text("{}")
        return StepResult(files=(job.out / "evidence.json",), findings=("LEAK: somewhere",), leak=True)

    monkeypatch.setattr(run, "run_evidence_step", step)
    facts = {"logits_hashes": {"1/prefill": "ab"}}
    found = run._measured(captured(folder), options(folder, activations=True), facts, temporary, {})
    assert (folder / "evidence.json").read_text() == "{}"
    assert found.evidence == (folder / "evidence.json",)
    assert found.warnings == ("before", "LEAK: somewhere")
    assert found.leak
    assert str(folder / "evidence.json") in found.summary()
    assert (jobs[0].prompt_tokens, jobs[0].decode_tokens) == ([1, 2], [3])
    assert jobs[0].activations
    assert jobs[0].recorded_hashes == {"1/prefill": "ab"}


@pytest.mark.parametrize(("leak", "code"), [(True, 1), (False, 0)])
def test_capture_exits_1_on_a_leak_after_saying_what_it_wrote(tmp_path, monkeypatch, leak, code):
    monkeypatch.setattr(run, "capture", lambda options, progress: captured(tmp_path, leak=leak))
    result = CliRunner().invoke(app, ["capture", "--batch", "1"])
    assert result.exit_code == code
    assert "manifest.json" in result.stdout
    assert "warning: before" in result.stderr
