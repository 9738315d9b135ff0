"""The tokens that flipped in a captured run, with their largest logits, in the format of a flip search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tracediff.dtypes import FORMATS
from tracediff.files import write_text
from tracediff.findings.flips import GENERATE, FlipSettings, FlipsResult, PromptSteps, Search
from tracediff.findings.flips_file import result_to_json
from tracediff.measure.compare_steps import PromptRuns, TextOf, compare_runs
from tracediff.measure.flips import notes_on_weights, prompts_sha256, token_texts
from tracediff.measure.generation import Steps
from tracediff.measure.machine import machine_and_workspace
from tracediff.measured import CAPTURED_FLIPS_FILE
from tracediff.model.load import load_tokenizer
from tracediff.text import json_text

if TYPE_CHECKING:
    from tracediff.measure.evidence import Measured
    from tracediff.measure.step import EvidenceJob


def write_captured_flips(measured: Measured, job: EvidenceJob) -> None:
    """Write `captured_flips.json` into the job's folder where a token flipped; else nothing.

    Raises:
        TracediffError: The tokenizer of the model cannot be loaded.
    """
    if not any(a != b for pair in measured.pairs for a, b in pair.tokens.values()):
        return
    result = captured_flips(measured, job, token_texts(load_tokenizer(job.spec)))
    write_text(job.out / CAPTURED_FLIPS_FILE, json_text(result_to_json(result)) + "\n", force=True)


def captured_flips(measured: Measured, job: EvidenceJob, text_of: TextOf) -> FlipsResult:
    """Return what a flip search over this one prompt would have found in the captured run.

    Args:
        measured: The evidence of the run; its batch sizes begin with 1.
        job: What was measured.
        text_of: Decodes one token.
    """
    repeatable = measured.controls["run_to_run"].equal is not False
    return FlipsResult(
        settings=FlipSettings(
            model=job.spec.label,
            random_weights=job.spec.is_preset,
            layers=job.spec.layers,
            attention=job.spec.attention,
            seed=job.spec.seed,
            batches=measured.batches,
            mode=GENERATE,
            prompts=1,
            prompts_sha256=prompts_sha256([job.prompt_tokens]),
            decode=len(job.decode_tokens),
            precisions=((job.spec.dtype, False),),
            reference=False,
            find=None,
        ),
        machine=machine_and_workspace(job.device),
        searches=(
            Search(
                dtype=job.spec.dtype,
                tf32=False,
                repeatable=repeatable,
                stopped_early=False,
                prompts=(_steps(measured, job, text_of),),
            ),
        ),
        notes=tuple(notes_on_weights(job.spec)),
    )


def _steps(measured: Measured, job: EvidenceJob, text_of: TextOf) -> PromptSteps:
    rows_agree = measured.controls["position"].equal is not False

    def run(batch: int) -> Steps:
        logits = torch.stack([measured.logits[f"{batch}/{phase}"] for phase in measured.phases])
        # The last step's choice is fed to none; it is what batch 1 chose.
        last = measured.logits[f"{measured.batches[0]}/{measured.phases[-1]}"].argmax()
        return Steps(logits=logits, fed=torch.tensor([*job.decode_tokens, int(last)]), rows_agree=rows_agree)

    first, *others = measured.batches
    runs = PromptRuns(
        number=0,
        length=len(job.prompt_tokens),
        kind=None,
        base=run(first),
        others={batch: run(batch) for batch in others},
        reference=None,
    )
    return compare_runs(runs, FORMATS[job.spec.dtype], text_of)
