"""Make the traces of profiles/ on a machine with an NVIDIA GPU: fp16, bf16, fp32 at batch 1, 2 and 8.

    python scripts/capture_profiles.py --out profiles

Each dtype becomes a folder with b1.sqlite, b2.sqlite, b8.sqlite and manifest.json: Llama-3-8B's geometry with seeded
random weights, all 32 blocks, a prompt of 6 tokens and 2 decode steps. A folder that is there is left alone unless
--force is given. Run in the environment that has `tracediff[capture]`.

The logits are kept for float16 alone, where tokens are near: those of all dtypes would take more than the traces.
"""

import argparse
import sys
from pathlib import Path

from tracediff.capture.options import CaptureOptions
from tracediff.capture.run import capture
from tracediff.cli.last_words import what_was_found
from tracediff.errors import TracediffError
from tracediff.measure.step import EvidenceJob, measure_evidence
from tracediff.model.spec import DTYPES, ModelSpec

BATCHES = (1, 2, 8)
LIMIT_BYTES = 15_000_000
LOGITS = "logits.safetensors"
KEEP_LOGITS = ("float16",)


def main() -> int:
    """Capture every dtype; 2 where one fails or all together are too large for a repository."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("profiles"))
    parser.add_argument("--model", default="llama-3-8b")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--force", action="store_true")
    arguments = parser.parse_args()
    for dtype in arguments.dtype:
        options = CaptureOptions(
            spec=ModelSpec(name=arguments.model, dtype=dtype),
            batches=BATCHES,
            out=arguments.out / f"{arguments.model}-{dtype}",
            force=arguments.force,
        )
        try:
            captured = capture(options, lambda step: print(f"{step} …", file=sys.stderr))
        except TracediffError as error:
            print(f"{dtype}: {error}", file=sys.stderr)
            return 2
        measured = measure_evidence(
            EvidenceJob(
                spec=options.spec,
                device=captured.device,
                batches=BATCHES,
                prompt_tokens=captured.prompt_tokens,
                decode_tokens=tuple(captured.manifest.decode_tokens),
                recorded_hashes=captured.logits_hashes,
                out=options.folder,
                traces=captured.traces_by_batch,
            )
        )
        for warning in (*captured.warnings, *measured.findings):
            print(f"warning: {warning}", file=sys.stderr)
        print(captured.summary(measured.files, what_was_found(captured.traces_by_batch, measured.evidence)))
        if dtype not in KEEP_LOGITS:
            (options.folder / LOGITS).unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{size} bytes in {arguments.out}")
    return 0 if size <= LIMIT_BYTES else 2


if __name__ == "__main__":
    sys.exit(main())
