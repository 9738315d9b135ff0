"""The kinds of input that `fuzz_readers.py` makes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fuzz_commands as commands
import fuzz_parquet as parquet
import fuzz_traces as traces
import fuzz_weights as weights


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        make: Writes one into a folder that may hold the one before; returns its path.
        check: Reads it, and renders what was read in one format: TracediffError where it is refused.
        share: How many inputs it gets, compared with other kinds.
        needs: Module that the reader imports, if that is optional.
    """

    make: Callable[[Path, random.Random], Path]
    check: Callable[[Path, random.Random], None]
    share: float = 1.0
    needs: str | None = None


#: Shares are such that every kind takes about as much time.
KINDS = {
    "pages": Kind(traces.make_export, traces.compare_with_sqlite, share=3),
    "sqlite": Kind(traces.make_export, traces.check_trace, share=2.5),
    "texts": Kind(traces.make_texts, traces.check_trace),
    "saved": Kind(traces.make_saved, traces.check_trace, share=4),
    "json": Kind(traces.make_json, traces.check_trace, share=5),
    "gzip": Kind(traces.make_gzip, traces.check_trace, share=2.5),
    "foreign": Kind(traces.make_foreign, traces.check_trace, share=40),
    "manifest": Kind(traces.make_manifest, traces.check_manifest, share=3),
    "evidence": Kind(traces.make_evidence, traces.check_evidence, share=1.5),
    "logits": Kind(traces.make_logits, traces.check_logits, share=1.5),
    "flips": Kind(commands.make_flips, commands.check_flips, share=3),
    "determinism": Kind(commands.make_determinism, commands.check_determinism, share=10),
    "map": Kind(commands.make_two_maps, commands.check_map, share=6),
    "remedies": Kind(commands.make_remedies, commands.check_remedies, share=6),
    "explain": Kind(commands.make_capture, commands.check_capture, share=2.5),
    "part": Kind(commands.make_part, commands.check_part, share=24),
    "lattice": Kind(commands.make_lattice, commands.check_lattice, share=8),
    "names": Kind(commands.make_names, commands.check_names, share=14),
    "prompts": Kind(commands.make_prompts, commands.check_prompts, share=40),
    "parquet": Kind(parquet.make_parquet, traces.check_trace, needs="pyarrow"),
    "fleet": Kind(parquet.make_dataset, commands.check_fleet, share=1.2, needs="pyarrow"),
    "gguf": Kind(weights.make_gguf, weights.check_header, share=4, needs="gguf"),
    "weights": Kind(weights.make_gguf, weights.check_weights, share=0.3, needs="gguf"),
}
