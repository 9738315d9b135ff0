"""What differs between two kernel names, as fields instead of two long strings."""

from typing import Any

from msgspec import Struct

from tracediff.kernels.model import KernelName, Types


class FieldChange(Struct, frozen=True, kw_only=True):
    """One field that two names state differently.

    Attributes:
        field: The field of KernelName: `tile`, `split_k`, …
        a: Its value in the first name, in words; None where that name does not state it.
        b: The same of the second name.
        text: The change in words: `tile 128×8×64 → 64×16×64`.
    """

    field: str
    a: str | None
    b: str | None
    text: str


# The fields in the order in which changes are listed, and what they are called.
_LABELS = {
    "family": "family",
    "role": "role",
    "kernel": "kernel",
    "kind": "kind",
    "arch": "arch",
    "types": "types",
    "tile": "tile",
    "stages": "stages",
    "cluster": "cluster",
    "warps": "warps",
    "mma": "mma",
    "split_k": "split-K",
    "sliced_k": "sliced-K",
    "schedule": "schedule",
    "raster": "raster",
    "layout": "layout",
    "alignment": "alignment",
    "epilogue": "epilogue",
    "beta": "beta",
    "two_cta": "two CTAs",
    "op_class": "unit",
    "threads": "threads",
    "head_dim": "head dimension",
}
_UNSTATED = "not stated"
# Families of unlike kernels: there the function, not the family, says which kernel it is.
COLLECTIONS = frozenset({"cublas_gemv_misc", "other"})


def differing_fields(a: KernelName, b: KernelName) -> tuple[FieldChange, ...]:
    """Return what the two names state differently, the most informative first; empty where they state the same.

    Where the family differs only the fields that both names state are compared: what one grammar cannot say is no
    change. A family of unlike kernels is named by its function: `kernel gemmSN_TN_kernel → xmma gemm`.
    """
    changes = []
    for field, label in _LABELS.items():
        if field == "family" and _named_by_function(a, b):
            text = f"kernel {_which(a)} → {_which(b)}"
            changes.append(FieldChange(field=field, a=_which(a), b=_which(b), text=text))
            continue
        before, after = words(a, field), words(b, field)
        if before == after or (a.family != b.family and None in (before, after)):
            continue
        changes.append(
            FieldChange(field=field, a=before, b=after, text=f"{label} {before or _UNSTATED} → {after or _UNSTATED}")
        )
    for word in dict.fromkeys(key for key, _ in (*a.details, *b.details)) if a.family == b.family else ():
        before, after = _value(a.detail(word)), _value(b.detail(word))
        if before != after:
            text = f"{word.replace('_', ' ')} {before or _UNSTATED} → {after or _UNSTATED}"
            changes.append(FieldChange(field=f"details.{word}", a=before, b=after, text=text))
    if not changes and a.unparsed != b.unparsed:
        text = f"unread part {a.unparsed or _UNSTATED} → {b.unparsed or _UNSTATED}"
        changes.append(FieldChange(field="unparsed", a=a.unparsed, b=b.unparsed, text=text))
    return tuple(changes)


def _named_by_function(a: KernelName, b: KernelName) -> bool:
    """Whether a change of family says little, and no change of function, which both names would state, says more."""
    return a.family != b.family and not COLLECTIONS.isdisjoint((a.family, b.family)) and None in (a.kernel, b.kernel)


def _which(kernel: KernelName) -> str:
    """Return `gemmSN_TN_kernel` or `xmma gemm`: the least that tells which kernel it is."""
    if kernel.family in COLLECTIONS:
        return kernel.kernel or "not read"
    return f"{kernel.family} {kernel.role}"


def words(kernel: KernelName, field: str) -> str | None:
    """Return one field's value in words, None where the name does not state it."""
    if field == "split_k":
        return split_k_words(kernel)
    return _value(getattr(kernel, field))


def split_k_words(kernel: KernelName) -> str | None:
    """Return what the name says of split-K: `no`, `3`, `yes (factor not in the name)`, …"""
    if kernel.split_k is not None:
        return str(kernel.split_k)
    if kernel.split_k_form is None:
        return None
    if kernel.split_k_form == "none":
        return "no"
    return "yes (factor not in the name)" if kernel.split_k_form == "stated" else kernel.split_k_form


def _value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Types):
        return types_words(value)
    if isinstance(value, tuple):
        return "×".join("?" if part is None else str(part) for part in value)
    return str(value)


def types_words(types: Types) -> str | None:
    """Return the types in words: `f16 × f16 → f16, sums in f32`."""
    parts = []
    operands = [operand for operand in (types.a, types.b) if operand]
    if operands:
        parts.append(" × ".join(operands))
    if types.output:
        parts.append(f"→ {types.output}")
    text = " ".join(parts)
    for label, value in (
        ("sums in", types.accumulate),
        ("multiplies", types.math),
        ("partial sums", types.partial),
        ("C", types.c),
        ("scales", types.scale_a),
        ("and", types.scale_b),
    ):
        if value:
            text += f"{', ' if text else ''}{label} {value}"
    return text or None
