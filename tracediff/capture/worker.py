"""The recorded process: `python -m tracediff.capture.worker JOB`, started by nsys, or alone for torch's profiler.

One model load, then per batch size: warm-ups outside the recording, and each forward recorded `repeats` times, every
time as a capture range of its own.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tracediff.capture.algorithm_log import algorithm_log
from tracediff.capture.job import Job, Report
from tracediff.capture.machine import library_versions
from tracediff.capture.options import TORCH
from tracediff.capture.torch_profiler import torch_recording
from tracediff.errors import TracediffError
from tracediff.model.attention import attention_failures_in_one_line
from tracediff.model.forward import forward, greedy_tokens
from tracediff.model.load import load_model, out_of_memory, prompt_tokens
from tracediff.model.ranges import (
    PREFILL,
    RUN,
    OpenRange,
    decode_phase,
    open_annotation,
    open_range,
    ranges_around_modules,
)

_GEOMETRY = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size")


def main(arguments: Sequence[str]) -> int:
    """Record what the job says; what goes wrong for the user to mend is reported, not raised."""
    job = Job.read(Path(arguments[0]))
    report = job.reporter()
    try:
        report("loading")
        model = load_model(job.spec, job.device)
        prompt = prompt_tokens(job.spec, model, text=job.prompt, count=job.tokens, chat=job.chat)
        record(job, model, prompt, report)
    except TracediffError as error:
        report("failed", message=error.message, hint=error.hint)
        return 2
    return 0


def record(job: Job, model: Any, prompt: Any, report: Report) -> None:
    """Record every batch size and report what a manifest says of it.

    Args:
        job: What to record.
        model: A transformers causal language model on the job's device.
        prompt: Token ids (1, tokens); every row of a batch holds the same prompt.
        report: Takes the progress and the facts.

    Raises:
        TracediffError: A batch does not fit into memory.
    """
    with attention_failures_in_one_line(job.spec.attention, job.spec.dtype):
        decode_tokens = greedy_tokens(model, prompt, job.decode)
    log_states = set()
    logits_hashes: dict[str, list[str]] = {}
    open_one, recording = _recorder(job)
    for batch in job.batches:
        report("batch", batch=batch)
        tokens = prompt.repeat(batch, 1)
        with _out_of_memory_in_one_line(job, batch), attention_failures_in_one_line(job.spec.attention, job.spec.dtype):
            # The first forward at a shape loads libraries and kernels and picks algorithms; the second, with the log
            # switched on, runs as the recorded ones will.
            forward(model, tokens, decode_tokens)
            with algorithm_log(job.algorithm_log) as log_state:
                log_states.add(log_state)
                forward(model, tokens, decode_tokens)
                for repeat in range(1, job.repeats + 1):
                    with ranges_around_modules(model, open_one), recording(batch, repeat):
                        logits = forward(model, tokens, decode_tokens, open_one=open_one)
                    for place, logits_hash in _hashes(batch, logits).items():
                        logits_hashes.setdefault(place, []).append(logits_hash)
    report(
        "recorded",
        layers=model.config.num_hidden_layers,
        geometry={name: getattr(model.config, name) for name in _GEOMETRY if hasattr(model.config, name)},
        prompt_tokens=prompt[0].tolist(),
        decode_tokens=decode_tokens,
        algorithm_log=" ".join(sorted(log_states)),
        logits_hashes=logits_hashes,
        versions=library_versions(),
        **_gpu(job.device),
    )


def _hashes(batch: int, logits: Sequence[Any]) -> dict[str, str]:
    """Hash what was computed under the profiler: evidence compares it with a process without one."""
    from tracediff.model.logits_hashes import logits_hashes  # noqa: PLC0415 -- needs torch

    phases = (PREFILL, *(decode_phase(step) for step in range(len(logits) - 1)))
    return logits_hashes(batch, phases, logits)


def _recorder(job: Job) -> tuple[OpenRange, Callable[[int, int], AbstractContextManager[None]]]:
    """Return what opens a range, and what records one repeat (counted from 1) of a batch size."""
    if job.profiler == TORCH:
        return open_annotation, lambda batch, repeat: torch_recording(job.device, job.torch_trace(batch, repeat))
    return open_range, lambda _batch, _repeat: _recording(job.device)


@contextmanager
def _recording(device: str) -> Iterator[None]:
    """Hold the range `run` open, inside one capture range of nsys; no work of before or after is in it."""
    if not device.startswith("cuda"):
        with open_range(RUN):
            yield
        return
    import torch  # noqa: PLC0415

    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    try:
        with open_range(RUN):
            yield
            torch.cuda.synchronize()
    finally:
        torch.cuda.cudart().cudaProfilerStop()


@contextmanager
def _out_of_memory_in_one_line(job: Job, batch: int) -> Iterator[None]:
    import torch  # noqa: PLC0415

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise out_of_memory(job.spec, batch) from error


def _gpu(device: str) -> dict[str, Any]:
    if not device.startswith("cuda"):
        return {"gpu": None, "sm_count": None}
    import torch  # noqa: PLC0415

    properties = torch.cuda.get_device_properties(device)
    return {"gpu": properties.name, "sm_count": properties.multi_processor_count}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
