"""One kernel pair as the report shows it: short names, marked full names, every field with its change."""

from __future__ import annotations

from typing import Any

from tracediff.diff.result import Kernel, Pair
from tracediff.kernels import KernelName
from tracediff.kernels.compare import differing_fields, words
from tracediff.report.diff.html.marks import marked_names, unmarked
from tracediff.report.diff.html.view import FieldView, KernelView, NamePart, PairView
from tracediff.report.diff.names import short_name
from tracediff.report.diff.spread import Spread
from tracediff.report.words import difference, duration
from tracediff.text import printable, shorten, sizes_in_words

_LONGEST_VALUE = 300

_LABELS = {
    "family": "family",
    "role": "role",
    "kind": "kind",
    "kernel": "function",
    "arch": "written for",
    "op_class": "unit",
    "types": "types",
    "tile": "tile m×n×k",
    "stages": "stages",
    "stages_auto": "stages left open",
    "cluster": "cluster",
    "two_cta": "two CTAs per instruction",
    "warps": "warps",
    "mma": "instruction m×n×k",
    "threads": "threads",
    "schedule": "schedule",
    "raster": "raster",
    "split_k": "split-K in the name",
    "sliced_k": "k slices in a CTA",
    "layout": "layout",
    "alignment": "alignment",
    "beta": "beta",
    "epilogue": "epilogue",
    "head_dim": "head dimension",
    "unparsed": "not read",
}
"""What is shown of a kernel's name, in this order; then its family's details."""

_LOG_LABELS = {
    "compute_type": "compute type",
    "algorithm_id": "algorithm id",
    "stages": "k-step × stages",
    "reduction_scheme": "reduction scheme",
    "custom_option": "custom option",
    "inner_shape": "inner shape",
    "swizzle": "swizzle",
    "workspace_bytes": "workspace bytes",
}
"""What cuBLASLt's log says beyond the name; its tile, cluster and layout are the name's."""

_SOURCES = {"log": "logged", "name": "from the name", "inferred": "inferred"}


def pair_view(number: int, pair: Pair, durations: tuple[float, float], modules: int, spread: Spread) -> PairView:
    """Return what the report shows of a pair.

    Args:
        number: Its position, from 1.
        pair: One pair of the modules that are folded; they all have the same.
        durations: Mean GPU time (a, b) in ns over the modules.
        modules: How many they are.
        spread: How much equal work varies.
    """
    names = [printable(side.parsed.name) if side else "" for side in (pair.a, pair.b)]
    both = pair.a is not None and pair.b is not None
    parts = marked_names(names[0], names[1]) if both else (unmarked(names[0]), unmarked(names[1]))
    shown = [*field_views(pair.a, pair.b), _time(pair, durations, modules, spread)]
    return PairView(
        number=number,
        a=_kernel(pair.a, parts[0]),
        b=_kernel(pair.b, parts[1]),
        verdict=pair.verdict.value,
        reason=printable(pair.reason),
        fields=tuple(sorted(shown, key=lambda field: (field.section == "time", not field.changed))),
    )


def _kernel(kernel: Kernel | None, parts: tuple[NamePart, ...]) -> KernelView | None:
    if kernel is None:
        return None
    return KernelView(short=short_name(kernel.parsed), parts=parts, role=kernel.parsed.role)


def field_views(a: Kernel | None, b: Kernel | None) -> list[FieldView]:
    """Return every field that is known on either side; a side without kernel differs in nothing."""
    return [*_name_fields(a, b), *_launch_fields(a, b)]


def _name_fields(a: Kernel | None, b: Kernel | None) -> list[FieldView]:
    sides = [kernel.parsed if kernel else None for kernel in (a, b)]
    differing = {change.field for change in differing_fields(a.parsed, b.parsed)} if a and b else set()
    details = dict.fromkeys(word for parsed in sides if parsed for word, _ in parsed.details)
    labels = {**_LABELS, **{f"details.{word}": word.replace("_", " ") for word in details}}
    shown = []
    for field, label in labels.items():
        if field == "unparsed" and field not in differing:
            continue  # for a name that nothing reads this is the name again
        value_a, value_b = (_of_name(parsed, field) if parsed else "" for parsed in sides)
        if value_a or value_b:
            shown.append(
                FieldView(section="name", label=printable(label), a=value_a, b=value_b, changed=field in differing)
            )
    return shown


def _of_name(parsed: KernelName, field: str) -> str:
    if field.startswith("details."):
        return _words(parsed.detail(field.removeprefix("details.")))
    return printable(shorten(words(parsed, field) or "", _LONGEST_VALUE))


def _launch_fields(a: Kernel | None, b: Kernel | None) -> list[FieldView]:
    values_a, values_b = _launch_values(a), _launch_values(b)
    shown = []
    for key in dict.fromkeys([*values_a, *values_b]):
        value_a, value_b = values_a.get(key), values_b.get(key)
        changed = a is not None and b is not None and value_a != value_b
        step = difference(value_a, value_b) if isinstance(value_a, int) and isinstance(value_b, int) else ""
        shown.append(
            FieldView(
                section=key[0],
                label=key[1],
                a=_words(value_a),
                b=_words(value_b),
                changed=changed,
                change=step if changed else "",
            )
        )
    return shown


def _launch_values(kernel: Kernel | None) -> dict[tuple[str, str], Any]:
    """Launch configuration and what cuBLASLt logged, by (section, label); unknown values are left out."""
    if kernel is None:
        return {}
    split = kernel.split_k
    source = _SOURCES.get(kernel.split_k_source or "", "")
    values: dict[tuple[str, str], Any] = {
        ("launch", "split-K factor"): f"{split} ({source})" if split is not None and source else split,
        ("launch", "grid"): kernel.grid,
        ("launch", "block"): kernel.block,
        ("launch", "registers per thread"): kernel.registers,
        ("launch", "shared memory bytes"): kernel.shared_memory_bytes,
    }
    log = kernel.algorithm
    if log is not None:
        if log.m is not None and log.n is not None and log.k is not None:
            values[("cuBLASLt log", "problem m×n×k")] = (log.m, log.n, log.k)
        values.update({("cuBLASLt log", label): getattr(log, name) for name, label in _LOG_LABELS.items()})
    return {key: value for key, value in values.items() if value is not None}


def _time(pair: Pair, durations: tuple[float, float], modules: int, spread: Spread) -> FieldView:
    return FieldView(
        section="time",
        label="GPU time" if modules == 1 else f"GPU time, mean of {modules}",
        a=duration(round(durations[0])) if pair.a else "",
        b=duration(round(durations[1])) if pair.b else "",
        changed=False,
        change=spread.change(*durations, modules) if pair.a and pair.b else "",
    )


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple):
        return sizes_in_words(value)
    return printable(shorten(str(value), _LONGEST_VALUE))
