"""What is known of a module's bits: what was measured, and where nothing was, what the trace predicts."""

from __future__ import annotations

from enum import StrEnum

from tracediff.diff.result import Row, Verdict
from tracediff.measured import State


class Standing(StrEnum):
    """What is known of a module's bits, worst first. Measured beats predicted."""

    CONTRADICTED = "predicted equal, measured different bits"
    DIFFERS = "measured different bits"
    UNSTABLE = "bits vary from run to run"
    CAN_DIFFER = "different order of summation"
    UNKNOWN = "cannot tell"
    MEASURED_EQUAL = "measured equal"
    KEEPS_ORDER = "same order of summation"
    SAME = "same kernels"

    @property
    def open(self) -> bool:
        """Whether the module's bits may differ, for all that is known."""
        return self in _OPEN


_OPEN = frozenset({Standing.CONTRADICTED, Standing.DIFFERS, Standing.UNSTABLE, Standing.CAN_DIFFER, Standing.UNKNOWN})
_PREDICTED = {
    Verdict.SAME_KERNELS: Standing.SAME,
    Verdict.SAME_ORDER: Standing.KEEPS_ORDER,
    Verdict.UNKNOWN: Standing.UNKNOWN,
    Verdict.ORDER_CHANGED: Standing.CAN_DIFFER,
}
#: Severity of a standing, worst first.
RANK = {standing: rank for rank, standing in enumerate(Standing)}


def standing(row: Row) -> Standing:
    """Return what is known of a row's bits."""
    if row.state is State.UNSTABLE:
        return Standing.UNSTABLE
    if row.contradicted:
        return Standing.CONTRADICTED
    if row.bits_equal is False:
        return Standing.DIFFERS
    if row.bits_equal:
        return Standing.MEASURED_EQUAL if row.changed or row.verdict is not Verdict.SAME_KERNELS else Standing.SAME
    return _PREDICTED[row.verdict]
