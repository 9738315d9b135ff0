"""Measured bits of one module, in words."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.diff.result import Row
from tracediff.diff.words import layers_in_words
from tracediff.measured import Bits
from tracediff.report.words import share


def bits_in_words(bits: Bits | None) -> str:
    """Return `equal`, or `differ: 12 % of elements, up to 2 ULP`; empty where nothing was measured."""
    if bits is None:
        return ""
    if bits.equal:
        return "equal"
    ulp = "" if bits.max_ulp is None else f", up to {bits.max_ulp:,} ULP"
    return f"differ: {share(bits.share)} of elements{ulp}"


def contradiction(row: Row) -> str:
    """Return what the measurement says against the verdict; empty where they agree or nothing was measured."""
    if not row.contradicted:
        return ""
    return f"predicted {row.verdict.value}, but with equal inputs the bits {bits_in_words(row.isolated)}"


def together(bits: Sequence[Bits | None], layers: Sequence[int | None]) -> str:
    """Return the bits of several modules in words: `differ in 31 of 32 (layers 1–31), up to 3 ULP`; empty for none."""
    known = [(one, layer) for one, layer in zip(bits, layers, strict=True) if one is not None]
    if not known:
        return ""
    differing = [(one, layer) for one, layer in known if not one.equal]
    if not differing:
        return "equal"
    text = "differ"
    if len(differing) < len(known):
        where = layers_in_words(layer for _, layer in differing if layer is not None)
        text += f" in {len(differing)} of {len(known)}" + (f" ({where})" if where else "")
    shares = [one.share for one, _ in differing]
    low, high = share(min(shares)), share(max(shares))
    text += f", {low}" if low == high else f", {low.removesuffix(' %')}–{high}"
    largest = max((one.max_ulp for one, _ in differing if one.max_ulp is not None), default=None)
    return text + (f", ≤ {largest:,} ULP" if largest is not None else "")
