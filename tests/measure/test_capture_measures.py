"""A capture measures evidence after recording, and says loudly what it finds."""

import pytest
from typer.testing import CliRunner

from tests.changed import replace
from tests.profiles import LONG_FLASH
from tracediff.capture import run
from tracediff.capture.manifest import Manifest, TraceEntry
from tracediff.capture.options import CaptureOptions
from tracediff.capture.write import Captured
from tracediff.cli import app
from tracediff.errors import TracediffError
from tracediff.measure import step
from tracediff.measure.step import StepResult
from tracediff.measured import Control, read_evidence
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


def captured(folder):
    return Captured(
        folder=folder,
        manifest=MANIFEST,
        kept_reports=(),
        warnings=("before",),
        device="cuda",
        prompt_tokens=(1, 2),
        logits_hashes={"1/prefill": "ab"},
    )


@pytest.mark.parametrize(
    ("device", "asked", "measures"),
    [("cuda", None, True), ("cpu", None, False), ("cuda", False, False), ("cpu", True, True)],
)
def test_evidence_is_measured_on_a_gpu_unless_said_otherwise(tmp_path, device, asked, measures):
    assert options(tmp_path, evidence=asked).measures_evidence_on(device) is measures


def test_activations_need_evidence_and_ask_for_it(tmp_path):
    assert options(tmp_path, activations=True).measures_evidence_on("cpu")
    with pytest.raises(TracediffError, match="exclude each other"):
        options(tmp_path, activations=True, evidence=False)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """What the command asks to be measured; nothing is recorded, and measuring finds what `found` says."""
    jobs, found = [], {}
    monkeypatch.setattr(run, "capture", lambda options, progress: captured(tmp_path))

    def measure(job):
        jobs.append(job)
        return StepResult(files=(job.out / "evidence.json",), **found)

    monkeypatch.setattr(step, "measure_evidence", measure)
    return jobs, found


def test_capture_measures_what_it_recorded(measured, tmp_path):
    jobs, _ = measured
    result = CliRunner().invoke(app, ["capture", "--batch", "1", "2", "--model", "tiny", "--activations"])
    assert result.exit_code == 0
    assert (jobs[0].spec, jobs[0].batches, jobs[0].out) == (ModelSpec(name="tiny"), (1, 2), tmp_path)
    assert (jobs[0].prompt_tokens, jobs[0].decode_tokens) == ((1, 2), (3,))
    assert (jobs[0].activations, jobs[0].recorded_hashes) == (True, {"1/prefill": "ab"})
    assert str(tmp_path / "evidence.json") in result.stdout


def test_nothing_is_measured_where_it_is_not_wanted(measured):
    jobs, _ = measured
    assert CliRunner().invoke(app, ["capture", "--batch", "1", "--no-evidence"]).exit_code == 0
    assert jobs == []


@pytest.mark.parametrize(("leak", "code"), [(True, 1), (False, 0)])
def test_capture_exits_1_on_a_leak_after_saying_what_it_wrote(measured, leak, code):
    _, found = measured
    evidence = read_evidence(LONG_FLASH / "evidence.json")
    first = "batch 7, layers.0.mlp" if leak else None
    neighbours = Control(equal=not leak, compared="", first=first)
    found["evidence"] = replace(evidence, controls=evidence.controls | {"neighbours": neighbours})
    found["findings"] = ("a module could not be replayed",)
    result = CliRunner().invoke(app, ["capture", "--batch", "1"])
    assert result.exit_code == code
    assert "manifest.json" in result.stdout
    assert "warning: before" in result.stderr
    assert "warning: a module could not be replayed" in result.stderr
    assert ("neighbours: different (first in batch 7, layers.0.mlp)" in result.stdout) is leak
