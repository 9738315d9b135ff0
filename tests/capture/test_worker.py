"""What the recorded process does, without a profiler around it."""

import contextlib
import json
import sys
import types

import pytest

from tracediff.capture import worker
from tracediff.capture.job import Job, ReportReader
from tracediff.errors import TracediffError
from tracediff.model.load import load_model, prompt_tokens
from tracediff.model.spec import ModelSpec

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TINY = ModelSpec(name="tiny", dtype="float32")


@pytest.fixture(scope="module")
def model():
    return load_model(TINY, "cpu")


@pytest.fixture(scope="module")
def prompt(model):
    return prompt_tokens(TINY, model)


@pytest.fixture
def job(tmp_path):
    return Job(
        spec=TINY,
        profiler="nsys",
        device="cpu",
        batches=(1, 2),
        repeats=2,
        prompt=None,
        tokens=6,
        decode=2,
        algorithm_log=True,
        reports=tmp_path / "reports.jsonl",
    )


@pytest.fixture
def events(monkeypatch):
    """What would go to NVTX and to the CUDA profiler, in order."""
    seen = []
    nvtx = types.SimpleNamespace(
        push_range=lambda text, domain: seen.append(text), pop_range=lambda domain: seen.append("pop")
    )
    monkeypatch.setitem(sys.modules, "nvtx", nvtx)
    profiler = types.SimpleNamespace(
        cudaProfilerStart=lambda: seen.append("start"), cudaProfilerStop=lambda: seen.append("stop")
    )
    monkeypatch.setattr(torch.cuda, "cudart", lambda: profiler)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append("synchronize"))
    return seen


def test_decode_steps_continue_the_prompt(model, prompt):
    tokens = worker.greedy_tokens(model, prompt, 3)
    logits = worker.forward(model, prompt, tokens)
    whole = model(torch.cat([prompt, torch.tensor([tokens])], dim=1)).logits
    assert [tuple(step.shape) for step in logits] == [(1, 6, 256), (1, 1, 256), (1, 1, 256), (1, 1, 256)]
    assert torch.allclose(torch.cat(logits, dim=1), whole, atol=1e-5)


def test_greedy_tokens_are_the_models_own_choice(model, prompt):
    chosen = worker.greedy_tokens(model, prompt, 3)
    expected = model.generate(prompt, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0)
    assert chosen == expected[0, prompt.shape[1] :].tolist()


def test_every_row_is_given_the_same_tokens(model, prompt):
    logits = worker.forward(model, prompt.repeat(3, 1), [5, 7])
    assert all(torch.allclose(step[:1], step, atol=1e-5) for step in logits)


def test_every_repeat_is_one_run_and_the_facts_are_reported(job, model, prompt, events):
    reports = []
    worker.record(job, model, prompt, lambda event, **values: reports.append((event, values)))
    assert events.count("run") == len(job.batches) * job.repeats
    assert [values["batch"] for event, values in reports if event == "batch"] == [1, 2]
    event, facts = reports[-1]
    assert event == "recorded"
    assert facts["prompt_tokens"] == prompt[0].tolist()
    assert len(facts["decode_tokens"]) == 2
    assert facts["algorithm_log"] == "unavailable"
    assert facts["layers"] == 2
    assert "start" not in events


def test_on_a_gpu_the_profiler_sees_the_run_and_nothing_else(events):
    with worker._recording("cuda"):
        events.append("work")
    assert events == ["synchronize", "start", "run", "work", "synchronize", "pop", "stop"]


def test_a_failing_run_ends_its_range_and_its_recording(events):
    with contextlib.suppress(ValueError), worker._recording("cuda"):
        raise ValueError
    assert events == ["synchronize", "start", "run", "pop", "stop"]


def test_a_batch_that_does_not_fit_is_one_line(job, prompt):
    def full(**_options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TracediffError, match="out of memory: tiny in float32 at batch 1 does not fit"):
        worker.record(Job(**{**fields(job), "decode": 0}), full, prompt, lambda event, **values: None)


def test_a_job_is_read_as_it_was_written(job, tmp_path):
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job


def test_what_the_user_can_mend_is_reported_and_ends_with_two(job, tmp_path):
    Job(**{**fields(job), "tokens": 4000}).write(tmp_path / "job.json")
    assert worker.main([str(tmp_path / "job.json")]) == 2
    *_, last = ReportReader(job.reports).news()
    assert (last["event"], last["message"]) == ("failed", "the prompt has 4000 tokens, tiny takes 512")


def test_reports_are_read_as_they_come_and_half_a_line_waits(job):
    reader = ReportReader(job.reports)
    assert list(reader.news()) == []
    report = job.reporter()
    report("loading")
    report("batch", batch=2)
    assert list(reader.news()) == [{"event": "loading"}, {"event": "batch", "batch": 2}]
    half, rest = json.dumps({"event": "later"})[:5], json.dumps({"event": "later"})[5:]
    with job.reports.open("a") as lines:
        lines.write(half)
    assert list(reader.news()) == []
    with job.reports.open("a") as lines:
        lines.write(rest + "\n")
    assert list(reader.news()) == [{"event": "later"}]


def fields(job):
    return {name: getattr(job, name) for name in Job.__dataclass_fields__}
