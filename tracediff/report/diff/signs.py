"""One sign for what is known of a module's bits, the same in every report: those of measurements mean nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from tracediff.diff.result import Row, Verdict
from tracediff.diff.standing import Standing, standing

EQUAL, DIFFERENT, CANNOT_TELL = "=", "≠", "?"

#: What a trace predicts.
OF_VERDICT = {
    Verdict.SAME_KERNELS: "·",
    Verdict.SAME_ORDER: "≈",
    Verdict.UNKNOWN: CANNOT_TELL,
    Verdict.ORDER_CHANGED: "Δ",
}
_OF_STANDING = {
    Standing.CONTRADICTED: "!",
    Standing.DIFFERS: DIFFERENT,
    Standing.UNSTABLE: "~",
    Standing.CAN_DIFFER: OF_VERDICT[Verdict.ORDER_CHANGED],
    Standing.UNKNOWN: OF_VERDICT[Verdict.UNKNOWN],
    Standing.MEASURED_EQUAL: EQUAL,
    Standing.KEEPS_ORDER: OF_VERDICT[Verdict.SAME_ORDER],
    Standing.SAME: OF_VERDICT[Verdict.SAME_KERNELS],
}
_MEASURED = {"!": "different, predicted equal", DIFFERENT: "different", "~": "vary from run to run", EQUAL: "equal"}
_PREDICTED = {"Δ": "can differ", CANNOT_TELL: "cannot tell", "≈": "equal, same order", "·": "equal, same kernels"}


def sign(known: Standing, measured: bool = False) -> str:
    """Return the sign of a standing.

    Args:
        known: What is known.
        measured: Whether bits were measured; tells apart modules of the same kernels that were found to be equal.
    """
    return EQUAL if known is Standing.SAME and measured else _OF_STANDING[known]


def sign_of(row: Row) -> str:
    """Return the sign of a module."""
    return sign(standing(row), row.bits_equal is not None)


def legend(rows: Iterable[Row]) -> str:
    """Return what the signs of some modules mean: `measured: ≠ different; = equal   predicted: Δ can differ`."""
    there = set(map(sign_of, rows))
    parts = []
    for how, meanings in (("measured", _MEASURED), ("predicted", _PREDICTED)):
        if found := [f"{each} {words}" for each, words in meanings.items() if each in there]:
            parts.append(f"{how}: {'; '.join(found)}")
    return "   ".join(parts)
