"""Measure what docs/invariance.md shows, on a machine with an NVIDIA GPU; it can be interrupted and goes on.

    python scripts/measure_invariance.py remedies --out profiles/remedies --minutes 15
    python scripts/measure_invariance.py maps --out profiles/maps --minutes 10

`remedies` proves the best combination in fp16 and bf16 at every batch from 1 to 64 beside the fastest settings, then
measures every remedy in bf16 at fewer batch sizes; about 3 and 5 minutes on an H100. `maps` maps three models, and one
of them under other settings; about a minute each. Files are named after model, dtype, setting and card. What is there
is left alone; what stands in `FILE.part` goes on.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tracediff.errors import TracediffError
from tracediff.measure.maps import MapRequest, measure_map
from tracediff.measure.remedies import RemediesRequest, measure_remedies
from tracediff.model.spec import ModelSpec

BEST = "fixed-chunk+no-workspace+fused-norm"
MAPS = (
    ("llama-3-8b", "bfloat16", "default"),
    ("llama-3-8b", "float16", "default"),
    ("llama-3-8b", "bfloat16", BEST),
    ("llama-3-8b", "bfloat16", "fixed-chunk+fixed-tile+fused-norm"),
    ("llama-3-8b", "float32", "default"),
    ("llama-3.2-1b", "bfloat16", "default"),
    ("llama-3.2-3b", "bfloat16", "default"),
    ("llama-3-8b", "bfloat16", "fixed-chunk+fixed-step+fused-norm"),
    ("llama-3.2-1b", "float16", "default"),
    ("llama-3.2-3b", "float16", "default"),
)
PROOF = (
    "default", "flash", "cudnn", "flash+fused-norm", "fixed-chunk+fused-norm", "deterministic", "no-workspace",
    "no-workspace+fused-norm", "flash+no-workspace+fused-norm", BEST, "fixed-chunk+fixed-tile+fused-norm",
)  # fmt: skip
EVERY = (
    "default", "flash", "efficient", "cudnn", "math", "deterministic", "flash+no-split+fused-norm",
    "flash+pad-products-64+fused-norm", "flash+row-by-row-products+fused-norm", "flash+float32-products+fused-norm",
    "flash+fixed-tile+fused-norm", "flash+fixed-step+fused-norm", "flash+fused-norm+pad-batch-64",
    "no-workspace+fused-norm", "row-by-row-attention+no-workspace+fused-norm", "efficient+no-workspace+fused-norm",
    "grouped-queries+no-workspace+fused-norm", BEST,
)  # fmt: skip
FEWER_BATCHES = (*range(1, 17), 20, 24, 28, 32, 40, 48, 56, 64)

Job = tuple[str, Callable[[Path, float], Any]]


def maps(card: str) -> Iterator[Job]:
    """Yield file names and how each is measured, given the file and the minutes left."""
    for model, dtype, setting in MAPS:
        name = "-".join([model, dtype, card, *([] if setting == "default" else [setting.replace("+", "-")])])

        def job(out: Path, minutes: float, model: str = model, dtype: str = dtype, setting: str = setting) -> Any:
            request = MapRequest(
                spec=ModelSpec(name=model, dtype=dtype),
                device="cuda",
                setting=setting,
                keys=(300, 2000) if setting == "default" else (300,),
                minutes=minutes,
            )
            return measure_map(request, out, progress=_say)

        yield name, job


def remedies(card: str) -> Iterator[Job]:
    """Yield the same for the remedies."""
    for dtype, suffix, settings, batches in (
        ("float16", "", PROOF, tuple(range(1, 65))),
        ("bfloat16", "", PROOF, tuple(range(1, 65))),
        ("bfloat16", "-every", EVERY, FEWER_BATCHES),
    ):

        def job(
            out: Path,
            minutes: float,
            dtype: str = dtype,
            settings: tuple[str, ...] = settings,
            batches: tuple[int, ...] = batches,
        ) -> Any:
            spec = ModelSpec(name="llama-3-8b", dtype=dtype)
            request = RemediesRequest(spec=spec, device="cuda", settings=settings, batches=batches, minutes=minutes)
            return measure_remedies(request, out, progress=_say)

        yield f"llama-3-8b-{dtype}-{card}{suffix}", job


def main() -> int:
    """Measure until everything is there or the time is up; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("maps", "remedies"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="only files whose name holds one of these words, as float32,every")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + arguments.minutes * 60
    card = torch.cuda.get_device_name().split()[1].lower()
    failed = 0
    for name, job in (maps if arguments.what == "maps" else remedies)(card):
        out = arguments.out / f"{name}.json"
        left = (deadline - time.monotonic()) / 60
        if out.exists() or left <= 0 or not any(word in name for word in arguments.only.split(",")):
            continue
        _say(name)
        try:
            job(out, left)
        except TracediffError as error:
            failed += 1
            _say(f"{name} failed: {error}")
        gc.collect()
        torch.cuda.empty_cache()
    return 1 if failed else 0


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
