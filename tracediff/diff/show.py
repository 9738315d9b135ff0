"""One trace as rows: what a diff shows of each side, without the other."""

from __future__ import annotations

from collections.abc import Collection

from tracediff.diff.compare import kernels_by_range, side_of
from tracediff.diff.result import Row, Side, Verdict
from tracediff.diff.select import select
from tracediff.trace import KernelTable


def show_table(table: KernelTable, phases: Collection[str] = ()) -> tuple[Side, tuple[Row, ...]]:
    """Return what a trace is, and the kernels of each (phase, module) as `Row.a`, one iteration of each kind.

    Raises:
        TracediffError: A named phase is not in the trace.
    """
    (selection,) = select([table], phases)
    kernels = kernels_by_range(table, selection)
    rows = tuple(
        Row(
            phase=key.phase,
            layer=key.layer,
            module=key.module,
            a=launched.kernels,
            b=(),
            pairs=(),
            verdict=Verdict.UNKNOWN,
            reason="",
        )
        for key, launched in kernels.items()
    )
    return side_of(table, selection, kernels), rows
