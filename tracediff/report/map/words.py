"""Words that every format of a map shares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tracediff.findings.maps import BatchMap, ModuleMap
from tracediff.findings.maps_classes import (
    Padding,
    causes_of_break,
    cheapest_padding,
    classes_of,
    forbidding,
    prediction_table,
    ranges_in_words,
    rows_to_pad,
)
from tracediff.report.measured_on import machine_words, model_words
from tracediff.text import count

GLYPHS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VARYING = "~"
_SHOWN_CAUSES = 4


def glyph(place: int | None) -> str:
    """Return the letter of a class; `~` for counts that vary from run to run, `+` where letters run out."""
    if place is None:
        return VARYING
    return GLYPHS[place] if place < len(GLYPHS) else "+"


def what_ran(found: BatchMap) -> str:
    """Name model, precision, setting and card in one line."""
    model = model_words(found.model, found.dtype, found.layers)
    return f"{model}, {found.setting}, on {machine_words(found.machine)}"


def classes_in_words(module: ModuleMap, most: int = 8, ranges: int | None = None) -> str:
    """Write a module's classes as sets of row counts: `1–8 · 9–11 · 12–15`.

    Args:
        module: Whose.
        most: Classes that are written.
        ranges: Ranges of each class that are written; None all.
    """
    classes = classes_of(module)
    shown = [_shortened(ranges_in_words(members), ranges) for members in classes.equal[:most]]
    if len(classes.equal) > most:
        shown.append(f"… {len(classes.equal) - most} more")
    if classes.varying:
        shown.append(f"varies from run to run: {_shortened(ranges_in_words(classes.varying), ranges)}")
    return " · ".join(shown) or "nothing measured"


def _shortened(words: str, most: int | None) -> str:
    ranges = words.split(", ")
    return words if most is None or len(ranges) <= most else f"{', '.join(ranges[:most])}, …"


def verdict(module: ModuleMap) -> str:
    """Say in a word or two how many classes there are."""
    classes = classes_of(module)
    if not module.counts:
        return "nothing measured"
    if classes.invariant:
        return "all equal"
    parts = [count(len(classes.equal), "class", "classes")]
    if classes.varying:
        parts.append(count(len(classes.varying), "varies", "vary"))
    return ", ".join(parts)


def padding_sentences(
    found: BatchMap, wanted: Sequence[int] | None = None, buckets: Sequence[int] | None = None
) -> list[str]:
    """Say for each forward how a range of row counts can be made one class, and what forbids it where nothing does.

    Args:
        found: The map.
        wanted: Row counts that must agree; None as `rows_to_pad`.
        buckets: Counts that a server can run; None allows every measured one.
    """
    sentences = []
    for module in found.forwards:
        if not module.counts:
            continue
        if buckets is not None:
            sentences.append(_buckets(module, buckets))
        sentences.append(_padding(found, module, rows_to_pad(module, wanted, buckets), buckets))
    return sentences


def _buckets(module: ModuleMap, buckets: Sequence[int]) -> str:
    classes = classes_of(module)
    measured = {each.rows for each in module.counts}
    groups: dict[object, list[str]] = {}
    for bucket in sorted(set(buckets)):
        place = classes.place(bucket)
        key: object = place if place is not None else ("varies" if bucket in measured else "not measured", bucket)
        groups.setdefault(key, []).append(str(bucket))
    words = [", ".join(members) + (f" ({key[0]})" if isinstance(key, tuple) else "") for key, members in groups.items()]
    return f"{module.label}: buckets with equal bits: {' · '.join(words)}"


def _padding(found: BatchMap, module: ModuleMap, wanted: list[int], buckets: Sequence[int] | None) -> str:
    what = f"{module.label}: {ranges_in_words(set(wanted))} rows"
    largest = module.counts[-1].rows
    if max(wanted) > largest:
        return f"{what}: the map ends at {largest} rows"
    padding = cheapest_padding(module, wanted, buckets)
    if padding is None:
        blocking = list(dict.fromkeys(each.name for each in forbidding(found, wanted, module.keys)))
        by = f"; no padding makes {', '.join(blocking)} equal there" if blocking else ""
        return f"{what}: no padding gives them the same bits{by}"
    if not padding.steps:
        return f"{what} have the same bits as they are"
    if not padding.pads_measured:
        return f"{what}: {_unmeasured(padding)}{_unsteady(module)}"
    return f"{what} are one class when padded {_steps(padding)}: {_cost(padding)}{_unsteady(module)}"


def _unmeasured(padding: Padding) -> str:
    """Say that the counts that were measured need no padding, and what to do with the others."""
    padded = f"padded {_steps(padding)}: {padding.more_rows:.0%} more rows"
    measured = len(padding.to) - len(padding.unmeasured)
    if not measured:
        return f"none was measured; they are one class when {padded}"
    known = f"what was measured ({measured} of {len(padding.to)}) has the same bits as it is"
    return f"{known}; the rest has them when {padded}"


def _steps(padding: Padding) -> str:
    steps = ", ".join(f"{ranges_in_words(rows)} → {to}" for rows, to in padding.steps[:4])
    return steps if len(padding.steps) <= 4 else f"{steps}, … {len(padding.steps) - 4} more"


def _unsteady(module: ModuleMap) -> str:
    varying = len(classes_of(module).varying)
    # Two runs that agreed do not show that a count never varies where its neighbours do.
    if not varying:
        return ""
    return f"; but {count(varying, 'count varies', 'counts vary')} from run to run, so this promises little"


def _cost(padding: Padding) -> str:
    rows = f"{padding.more_rows:.0%} more rows"
    if padding.more_time is None:
        return rows
    of = f" ({padding.timed} of {len(padding.to)} counts timed)" if padding.timed < len(padding.to) else ""
    return f"{rows}, {padding.more_time:+.1%} GPU time{of}"


def break_sentences(found: BatchMap, most: int) -> list[str]:
    """Say at which row counts the forward's bits change and which modules do it, the first `most` of each forward."""
    sentences = []
    for module in found.forwards:
        steady = [each for each in module.counts if each.bits is not None]
        steps = [(a, b) for a, b in pairwise(steady) if a.bits != b.bits]
        for a, b in steps[:most]:
            causes = causes_of_break(found, a.rows, b.rows, module.keys)
            by_why: dict[str, list[str]] = {}
            for cause in causes:
                if "(fused)" not in cause.module.name:
                    by_why.setdefault(cause.why or "different bits", []).append(cause.module.name)
            words = [f"{', '.join(names)} ({why})" for why, names in list(by_why.items())[:_SHOWN_CAUSES]]
            sentences.append(
                f"{module.label}, {a.rows} → {b.rows} rows: {'; '.join(words) or 'no mapped module differs'}"
            )
    return sentences


def prediction_sentence(found: BatchMap) -> str | None:
    """Say what the rules predicted of steps between neighbouring counts, against the bits; None without kernels."""
    table = prediction_table(found)
    if not table:
        return None
    words = [f"{name}: {equal:,} equal, {other:,} not" for name, (equal, other) in table.items()]
    return f"predicted against measured, step by step: {'; '.join(words)}"
