"""The evidence step as a capture runs it: a process of its own, files, findings."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

import torch  # noqa: E402

from tests.measure import toy  # noqa: E402
from tests.profiles import FLOAT16  # noqa: E402
from tracediff.cli.last_words import what_was_found  # noqa: E402
from tracediff.files import sha256_of  # noqa: E402
from tracediff.measure import step, worker  # noqa: E402
from tracediff.measure.step import EvidenceJob  # noqa: E402
from tracediff.measured import read_evidence  # noqa: E402
from tracediff.model.spec import ModelSpec  # noqa: E402
from tracediff.processes import Finished  # noqa: E402


def job(out, **changes):
    fields = {
        "spec": ModelSpec(name="tiny", dtype="float32", layers=1, attention="eager"),
        "device": "cpu",
        "batches": (1, 2),
        "prompt_tokens": (5, 6, 7),
        "decode_tokens": (8,),
        "recorded_hashes": None,
    }
    return EvidenceJob(**{**fields, **changes}, out=out)


def test_a_job_is_read_as_it_was_written(tmp_path):
    written = job(tmp_path)
    written.write(tmp_path / "job.json")
    assert EvidenceJob.read(tmp_path / "job.json") == written


def run_here(monkeypatch, job):
    """Run the step with its process's work done in this one: importing torch takes seconds."""

    def run(command, **_):
        return Finished(code=worker.main(command[3:]), output="")

    monkeypatch.setattr(step, "run_program", run)
    return step.measure_evidence(job)


def test_it_writes_evidence_and_logits_from_a_process_of_its_own(tmp_path):
    result = step.measure_evidence(job(tmp_path, batches=(1, 2)))
    assert [file.name for file in result.files] == ["evidence.json", "logits.safetensors"]
    assert not result.leak
    evidence = json.loads(result.files[0].read_text())
    assert evidence["phases"] == ["prefill", "decode[0]"]
    assert [pair["batches"] for pair in evidence["pairs"]] == [[1, 2]]
    assert "model.layers.0.mlp.down_proj" in evidence["pairs"][0]["modules"]["prefill"]
    assert str(tmp_path) not in json.dumps(evidence)


def test_it_names_the_traces_that_the_evidence_belongs_to(tmp_path, monkeypatch):
    traces = {batch: FLOAT16 / f"b{batch}.sqlite" for batch in (1, 2)}
    evidence = run_here(monkeypatch, job(tmp_path, traces=traces)).evidence
    assert evidence.traces == {batch: sha256_of(trace) for batch, trace in traces.items()}
    assert (evidence.weights, evidence.gpu) == ("random", None)
    assert read_evidence(tmp_path / "evidence.json") == evidence


def test_activations_are_written_where_they_are_asked_for(tmp_path, monkeypatch):
    result = run_here(monkeypatch, job(tmp_path, activations=True))
    assert [file.name for file in result.files] == ["evidence.json", "logits.safetensors", "activations.safetensors"]


def test_other_bits_under_the_profiler_are_a_finding_and_no_leak(tmp_path, monkeypatch):
    result = run_here(monkeypatch, job(tmp_path, batches=(1,), recorded_hashes={"1/prefill": ["0" * 16]}))
    assert result.evidence.controls["profiler"].first == "1/prefill"
    assert not result.leak
    (words,) = what_was_found({1: tmp_path / "b1.sqlite"}, result.evidence)
    assert words.startswith("batch 1  controls: run to run")
    assert "profiler: different (first in 1/prefill)" in words


def test_a_leak_is_a_finding_and_a_leak(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tracediff.model.load.load_model", lambda spec, device: toy.Toy(first1=toy.Leaks).to(torch.float32)
    )
    result = run_here(monkeypatch, job(tmp_path))
    assert result.leak
    assert "layers.1.first_proj" in result.evidence.controls["neighbours"].first


def test_a_process_that_dies_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "run_program", lambda *_, **__: Finished(code=-9, output="some words\nKilled\n"))
    assert step.measure_evidence(job(tmp_path)).findings == ("no evidence was measured: Killed",)


def test_a_model_that_cannot_be_loaded_is_a_finding(tmp_path, monkeypatch):
    spec = ModelSpec(name="tiny", dtype="float32", layers=99)
    result = run_here(monkeypatch, job(tmp_path, spec=spec))
    assert result.files == ()
    assert result.findings[0].startswith("no evidence was measured: tiny has 2 layers")
