"""The measuring process: `python -m tracediff.measure.worker JOB`, started by a capture after its recordings."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.measure.step import EvidenceJob


def main(arguments: Sequence[str]) -> int:
    """Measure what the job says; what goes wrong for the user to mend is left as one line."""
    job = EvidenceJob.read(Path(arguments[0]))
    try:
        _measure(job)
    except TracediffError as error:
        job.fail(str(error))
        return 2
    return 0


def _measure(job: EvidenceJob) -> None:
    import torch  # noqa: PLC0415

    from tracediff.measure.captured_flips import write_captured_flips  # noqa: PLC0415
    from tracediff.measure.evidence import measure  # noqa: PLC0415
    from tracediff.measure.evidence_file import write  # noqa: PLC0415
    from tracediff.model.load import load_model, out_of_memory  # noqa: PLC0415

    model = load_model(job.spec, job.device)
    prompt = torch.tensor([job.prompt_tokens], device=model.device)
    try:
        evidence = measure(
            model,
            prompt,
            job.batches,
            job.decode_tokens,
            name=job.spec.label,
            dtype=job.spec.dtype,
            attention=job.spec.attention,
            recorded_hashes=job.recorded_hashes,
            activations=job.activations,
        )
    except torch.OutOfMemoryError as error:
        raise out_of_memory(job.spec, max(job.batches)) from error
    write(evidence, job.out)
    write_captured_flips(evidence, job)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
