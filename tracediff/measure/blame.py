"""Name the kernels of modules that vary by themselves, from the traces that were recorded of the same run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from tracediff.errors import TracediffError
from tracediff.measured import Evidence
from tracediff.trace import read_trace
from tracediff.trace.table import KernelTable

# Kernels that only move or map values cannot vary.
_CANNOT_VARY = frozenset({"copy", "elementwise"})


def with_kernels(evidence: Evidence, traces: Mapping[int, Path]) -> Evidence:
    """Return the evidence with the names of the kernels that run in each unstable module and may be why it varies.

    Args:
        evidence: Just measured.
        traces: The trace of each batch size; one that cannot be read names nothing.
    """
    batches = {each.batch for each in evidence.unstable}
    kernels: dict[tuple[int, str, str], tuple[str, ...]] = {}
    for batch in batches & traces.keys():
        try:
            table = read_trace(traces[batch])
        except TracediffError:
            continue
        kernels |= {(batch, *place): names for place, names in _kernels_that_may_vary(table).items()}
    return replace(
        evidence,
        unstable=tuple(
            replace(each, kernels=kernels.get((each.batch, each.phase, each.module), ())) for each in evidence.unstable
        ),
    )


def _kernels_that_may_vary(table: KernelTable) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the kernel names of each (phase, module), each once, in launch order."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    may_vary = [parsed.role not in _CANNOT_VARY for parsed in table.parsed]
    for name, key in zip(table.name.tolist(), table.key.tolist(), strict=True):
        place = table.keys[key]
        if place.phase is not None and may_vary[name]:
            found.setdefault((place.phase, place.module), {})[table.names[name]] = None
    return {place: tuple(names) for place, names in found.items()}
