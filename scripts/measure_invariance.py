"""Measure what docs/invariance.md shows, on a machine with an NVIDIA GPU; it can be interrupted and goes on.

    python scripts/measure_invariance.py remedies --out profiles/remedies --minutes 15
    python scripts/measure_invariance.py maps --out profiles/maps --minutes 10

`remedies` compares the settings that could be invariant at every batch from 1 to 64, in fp16 and bf16, and times them
beside the fastest ones: in Llama-3-8B, on which they were chosen, and in two models on which they were not. Then it
measures every remedy in bf16 at fewer batch sizes. `maps` maps three models, one of them under other settings too.
Files are named after model, dtype, setting and card. What is there is left alone; what stands in `FILE.part` goes on.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tracediff.errors import TracediffError
from tracediff.measure.maps import MapRequest, measure_map
from tracediff.measure.remedies import RemediesRequest, measure_remedies
from tracediff.model.spec import ModelSpec

BEST = "fixed-chunk+no-workspace+fused-products+fused-norm"
UNFUSED = "fixed-chunk+no-workspace+fused-norm"
FIXED_TILE = "fixed-chunk+fixed-tile+fused-norm"
FIXED_STEP = "fixed-chunk+fixed-step+fused-norm"
SHORT_AND_LONG, SHORT = (300, 2000), (300,)
MAPS = (
    ("llama-3-8b", "bfloat16", "default", SHORT_AND_LONG),
    ("llama-3-8b", "float16", "default", SHORT_AND_LONG),
    ("llama-3-8b", "bfloat16", UNFUSED, SHORT_AND_LONG),
    ("llama-3.2-1b", "bfloat16", "default", SHORT_AND_LONG),
    ("llama-3.2-3b", "bfloat16", "default", SHORT_AND_LONG),
    ("llama-3.2-1b", "float16", "default", SHORT_AND_LONG),
    ("llama-3.2-3b", "float16", "default", SHORT_AND_LONG),
    ("llama-3-8b", "float32", "default", SHORT),
    ("llama-3-8b", "bfloat16", FIXED_STEP, SHORT),
    ("llama-3-8b", "bfloat16", FIXED_TILE, SHORT),
)
COMPARED = (BEST, UNFUSED, FIXED_TILE, "fixed-chunk+fused-products+fused-norm")
TIMED_BESIDE = (
    "default", "fused-norm", "no-workspace+fused-norm", "fixed-chunk+fused-norm",
    "fused-products+fused-norm", "no-workspace+fused-products+fused-norm", "flash+fused-products+fused-norm",
    "flash+no-workspace+fused-products+fused-norm",
)  # fmt: skip
EVERY = (
    "default", "flash", "efficient", "cudnn", "math", "fused-norm", "flash+fused-norm", "deterministic",
    "fixed-chunk+fused-norm", "flash+no-split+fused-norm", "flash+pad-products-64+fused-norm",
    "flash+row-by-row-products+fused-norm", "flash+float32-products+fused-norm", "flash+fixed-tile+fused-norm",
    "flash+fixed-step+fused-norm", FIXED_TILE, "flash+fused-norm+pad-batch-64", "flash+fused-norm+pad-batch-16",
    "no-workspace+fused-norm", "flash+no-workspace+fused-norm", "row-by-row-attention+no-workspace+fused-norm",
    "efficient+no-workspace+fused-norm", "grouped-queries+no-workspace+fused-norm", "flex+no-workspace+fused-norm",
    UNFUSED, BEST,
)  # fmt: skip
FEWER_BATCHES = (*range(1, 9), 12, 16, 24, 32, 48, 64)

Job = tuple[str, Callable[[Path, float], Any]]


def maps(card: str) -> Iterator[Job]:
    """Yield file names and how each is measured, given the file and the minutes left."""
    for model, dtype, setting, keys in MAPS:
        name = "-".join([model, dtype, card, *([] if setting == "default" else [setting.replace("+", "-")])])
        request = MapRequest(spec=ModelSpec(name=model, dtype=dtype), device="cuda", setting=setting, keys=keys)
        yield name, partial(_map, request)


def remedies(card: str) -> Iterator[Job]:
    """Yield the same for the remedies."""
    for model, settings in (("llama-3-8b", COMPARED), ("llama-3.2-3b", (BEST,)), ("llama-3.2-1b", (BEST,))):
        for dtype in ("bfloat16", "float16"):
            spec = ModelSpec(name=model, dtype=dtype)
            request = RemediesRequest(spec=spec, device="cuda", settings=settings, beside=TIMED_BESIDE, reference=False)
            yield f"{model}-{dtype}-{card}", partial(_remedies, request)
    every = RemediesRequest(
        spec=ModelSpec(name="llama-3-8b", dtype="bfloat16"), device="cuda", settings=EVERY, batches=FEWER_BATCHES
    )
    yield f"llama-3-8b-bfloat16-{card}-every", partial(_remedies, every)


def _map(request: MapRequest, out: Path, minutes: float) -> None:
    measure_map(replace(request, minutes=minutes), out, progress=_say)


def _remedies(request: RemediesRequest, out: Path, minutes: float) -> None:
    measure_remedies(replace(request, minutes=minutes), out, progress=_say)


def main() -> int:
    """Measure until everything is there or the time is up; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("maps", "remedies"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="only files whose name has this regular expression, as every$")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + arguments.minutes * 60
    card = torch.cuda.get_device_name().split()[1].lower()
    failed = 0
    for name, job in (maps if arguments.what == "maps" else remedies)(card):
        out = arguments.out / f"{name}.json"
        left = (deadline - time.monotonic()) / 60
        if out.exists() or left <= 0 or not re.search(arguments.only, name):
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
