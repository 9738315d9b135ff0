"""Executions that launch their kernels differently in the two traces where the one that is compared does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracediff.diff.executions import Executed, Numbered
from tracediff.trace.table import Int64

_COLUMNS = ("grid", "block", "registers", "shared_memory_bytes")


def other_launches(
    runs: tuple[Executed, Executed], places: tuple[Sequence[int], Sequence[int]], traces: tuple[Numbered, Numbered]
) -> list[int]:
    """Return which executions launch a kernel in another way in one trace than in the other, though the last do not.

    Args:
        runs: The executions of a phase in both traces.
        places: Executions that run the same kernels, as many in either trace, in order of the run.
        traces: The traces.

    Returns:
        Indices into `places`.
    """
    kernels = [
        np.stack([run.kernels[place] for place in mine]) for run, mine in zip(runs, places, strict=True)
    ]  # shape (executions, kernels)
    differ = np.zeros(kernels[0].shape, dtype=np.bool_)
    for column in _COLUMNS:
        a, b = (getattr(trace.table, column)[mine] for trace, mine in zip(traces, kernels, strict=True))
        differ |= (a != b).any(axis=2) if a.ndim == 3 else a != b
    a, b = (_algorithms(trace, mine) for trace, mine in zip(traces, kernels, strict=True))
    differ |= a != b
    return [int(index) for index in np.flatnonzero((differ & ~differ[-1]).any(axis=1)).tolist()]


def _algorithms(trace: Numbered, kernels: Int64) -> Int64:
    """Return a number for what cuBLASLt logged for each kernel, the same in both traces; -1 for nothing."""
    numbers: Int64 = np.append(trace.algorithms, -1)[trace.table.algorithm[kernels]]
    return numbers
