"""Evidence of one module, read with tolerance: what is missing or odd is left out, never an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracediff.diff.evidence import contradicted
from tracediff.diff.result import Row
from tracediff.diff.words import layers_in_words
from tracediff.report.diff.html import units
from tracediff.report.diff.html.view import Bits, Measured
from tracediff.text import printable


def read_measured(evidence: dict[str, Any] | None) -> Measured | None:
    """Return what `evidence` says about a module's bits; None where it says nothing."""
    if not isinstance(evidence, dict):
        return None
    isolated, propagated = read_bits(evidence.get("isolated")), read_bits(evidence.get("propagated"))
    state = evidence.get("state")
    word = printable(state) if isinstance(state, str) else ""
    if isolated is None and propagated is None and not word:
        return None
    return Measured(isolated=isolated, propagated=propagated, state=word)


def read_bits(value: Any) -> Bits | None:
    """Return one comparison `{"equal", "share", "max_ulp"}`; None where it does not say whether bits are equal."""
    if not isinstance(value, dict) or not isinstance(value.get("equal"), bool):
        return None
    share, ulp = value.get("share"), value.get("max_ulp")
    share = float(share) if isinstance(share, (int, float)) and not isinstance(share, bool) else None
    ulp = ulp if isinstance(ulp, int) and not isinstance(ulp, bool) else None
    equal = value["equal"]
    return Bits(equal=equal, text=_text(equal, share, ulp), share=share, max_ulp=ulp)


def _text(equal: bool, share: float | None, ulp: int | None) -> str:
    if equal:
        return "equal"
    parts = []
    if share is not None:
        parts.append(f"{units.share(share)} of elements")
    if ulp is not None:
        parts.append(f"up to {ulp:,} ULP")
    return f"differ: {', '.join(parts)}" if parts else "differ"


def contradiction(row: Row, measured: Measured | None) -> str:
    """Return what the evidence says against the verdict; empty where they agree or nothing was measured.

    Only one direction is a contradiction: another order may round to the same bits, the same order must.
    """
    if measured is None or measured.isolated is None or not contradicted(row):
        return ""
    return f"predicted {row.verdict.value}, but with equal inputs the bits {measured.isolated.text}"


def together(bits: Sequence[Bits | None], layers: Sequence[int | None]) -> str:
    """Return the bits of several modules in words: `differ in 31 of 32 (layers 1–31), up to 3 ULP`; empty for none."""
    known = [(one, layer) for one, layer in zip(bits, layers, strict=True) if one is not None]
    if not known:
        return ""
    differing = [(one, layer) for one, layer in known if not one.equal]
    if not differing:
        return "equal"
    largest = max((one.max_ulp for one, _ in differing if one.max_ulp is not None), default=None)
    shares = [one.share for one, _ in differing if one.share is not None]
    text = "differ"
    if len(differing) < len(known):
        where = layers_in_words(layer for _, layer in differing if layer is not None)
        text += f" in {len(differing)} of {len(known)}" + (f" ({where})" if where else "")
    if shares:
        low, high = units.share(min(shares)), units.share(max(shares))
        text += f", {low}" if low == high else f", {low.removesuffix(' %')}–{high}"
    return text + (f", ≤ {largest:,} ULP" if largest is not None else "")
