"""Words that every format of the remedies shares."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.findings.maps_classes import ranges_in_words
from tracediff.findings.remedies import GOAL, Price, RemediesResult, SettingBits, cheapest_invariant, equal_classes
from tracediff.findings.remedies_catalog import setting_named
from tracediff.report.measured_on import machine_words, model_words

NOT_COMPARED = "–"
_EQUAL = "equal"


def what_ran(result: RemediesResult) -> str:
    """Name model, precision and card in one line."""
    return f"{model_words(result.model, result.dtype, result.layers)} on {machine_words(result.machine)}"


def decode_words(bits: SettingBits | None, between: str = ", ") -> str:
    """Say of every number of keys how many classes its batches fall into, with `between` between two of them.

    Where it is one class at all of them, that is one word.
    """
    if bits is None or not bits.decode:
        return NOT_COMPARED
    if all(_count(row) == _EQUAL for row in bits.decode.values()):
        return _EQUAL
    return between.join(f"{_count(row)} at {keys}" for keys, row in bits.decode.items())


def prefill_words(bits: SettingBits | None) -> str:
    """The same for the prompt."""
    return NOT_COMPARED if bits is None else _count(bits.prefill)


def left_words(bits: SettingBits | None) -> str:
    """Name the kinds of modules that make different bits."""
    return ("" if bits is None else ", ".join(bits.left)) or NOT_COMPARED


def decode_is_prefill_words(bits: SettingBits | None) -> str:
    """Say whether a token has the same logits in a decode step as inside a prompt."""
    if bits is None or bits.decode_is_prefill is None:
        return NOT_COMPARED
    return "yes" if bits.decode_is_prefill else "no"


def memory_words(bits: SettingBits | None) -> str:
    """Write the memory of a step in MiB."""
    return NOT_COMPARED if bits is None or bits.memory_bytes is None else f"{bits.memory_bytes / 2**20:.0f}"


def error_words(bits: SettingBits | None) -> str:
    """Write the error against float32."""
    return NOT_COMPARED if bits is None or bits.error is None else f"{bits.error:.1e}"


def _count(row: tuple[tuple[int, str | None], ...]) -> str:
    if not row:
        return "not measured"
    classes = len(equal_classes(row))
    varying = sum(bits is None for _, bits in row)
    words = _EQUAL if classes == 1 and not varying else str(classes)
    return f"{words} ({varying} vary)" if varying else words


def _in_words(batches: Sequence[int]) -> str:
    return ranges_in_words(batches)


def ratio(value: float | None) -> str:
    """Write a ratio of times."""
    return "–" if value is None else f"{value:.2f}"


def findings(result: RemediesResult, priced: tuple[Price, ...]) -> list[str]:
    """Return what the measurements say, one sentence each; the first is the answer."""
    sentences = []
    best = cheapest_invariant(result)
    invariant = [price.setting for price in priced if price.invariant]
    measured = f"batch {_in_words(result.batches)} and the prompt at {_in_words(result.prefill_batches)}"
    if not result.bits:
        sentences.append("no setting's bits were compared")
    elif best is None:
        sentences.append(f"no setting that was measured and timed is bit-equal over {measured}")
        left = sorted({kind for bits in result.bits for kind in bits.left})
        if left:
            sentences.append(f"what is left: {', '.join(left)}")
    else:
        cost = f"at most {ratio(best.worst_ratio)} × the fastest setting's GPU time at any point"
        met = f" (the goal is {GOAL})" if best.reaches_goal else f" (above the goal of {GOAL})"
        sentences.append(f"bit-equal over {measured}, cheapest: {best.setting}, {cost}{met}")
        sentences.append(setting_named(best.setting).words)
    others = [name for name in invariant if best is None or name != best.setting]
    if others:
        sentences.append(f"also bit-equal: {', '.join(others)}")
    varying = [bits.setting for bits in result.bits if not bits.repeats]
    if varying:
        sentences.append(f"gives different bits when run again: {', '.join(varying)}")
    if result.times and not any(point.replayed for point in result.times):
        sentences.append("times are of the CPU, without CUDA graphs")
    sentences += [f"{bits.setting}: {each}" for bits in result.bits for each in bits.left_out]
    sentences += [f"{name} was not measured: {why}" for name, why in result.failed.items()]
    return [*sentences, *result.notes]
