"""Measure the evidence of captures that exist, from their manifests: no nsys, the traces stay as they are.

    python scripts/measure_evidence.py profiles/llama-3-8b-float16                 writes beside the traces
    python scripts/measure_evidence.py profiles/llama-3-8b-float16 --dtype bfloat16 --out DIR

`tracediff capture` measures evidence by itself; this is for measuring again, or at another precision. Logits under the
profiler are not in a manifest, so that one control is left out here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tracediff.capture.manifest import read_manifest
from tracediff.measure import worker
from tracediff.measure.blame import with_kernels
from tracediff.measure.step import EvidenceJob
from tracediff.measured import EVIDENCE_FILE, encode_evidence, read_evidence
from tracediff.model.spec import ModelSpec


def main() -> int:
    """Measure each folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders with a manifest.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", help="another precision than the manifest's; needs --out")
    parser.add_argument("--out", type=Path, help="write here, into a folder per capture, instead of beside the traces")
    parser.add_argument("--activations", action="store_true", help="also store what the origins put out")
    arguments = parser.parse_args()
    if arguments.dtype and not arguments.out:
        parser.error("--dtype needs --out: evidence of another precision does not belong beside these traces")
    failures = 0
    for folder in arguments.folders:
        manifest = read_manifest(folder)
        if manifest.prompt_tokens is None:
            parser.error(f"{folder} does not store its prompt (--no-store-prompt)")
        dtype = arguments.dtype or manifest.dtype
        out = folder if arguments.out is None else arguments.out / f"{folder.name}-{dtype}"
        out.mkdir(parents=True, exist_ok=True)
        job = EvidenceJob(
            spec=ModelSpec(
                name=manifest.model,
                dtype=dtype,
                layers=manifest.layers,
                attention=manifest.attention,
                seed=manifest.seed,
            ),
            device=arguments.device,
            batches=tuple(trace.batch for trace in manifest.traces),
            prompt_tokens=tuple(manifest.prompt_tokens),
            decode_tokens=tuple(manifest.decode_tokens),
            recorded_hashes=None,
            out=out.resolve(),
            activations=arguments.activations,
        )
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "job.json"
            job.write(path)
            failures += worker.main([str(path)]) != 0
        evidence = out / EVIDENCE_FILE
        if evidence.exists():
            # The traces name the kernels of modules that vary by themselves.
            traces = {trace.batch: folder / trace.file for trace in manifest.traces}
            named = with_kernels(read_evidence(evidence), traces)
            evidence.write_text(encode_evidence(named), encoding="utf-8")
        print(evidence, evidence.stat().st_size if evidence.exists() else "not written")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
